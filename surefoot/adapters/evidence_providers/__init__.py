"""Read predictions, labels and counters that others record: Parquet, Delta Lake, PostgreSQL, Prometheus."""
