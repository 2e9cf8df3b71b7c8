"""Keep what was counted: indexes of log parts, answers of versions, sums of parts, and what verdicts are made of."""
