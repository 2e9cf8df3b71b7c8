"""Build verdicts and word them, for every kind of gate."""
