"""Store, compact and query the prediction log, its labels and record files."""
