"""Store counted evidence: indexes of log files, answers of versions, sums, and what each verdict used."""
