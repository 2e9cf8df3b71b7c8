"""Compare the daily counts of a long-serving champion with its past."""
