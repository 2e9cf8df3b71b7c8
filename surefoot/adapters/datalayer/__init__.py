"""Checkpoint and restore the tables that a model's versions write: Parquet files, SQL tables, Delta Lake tables."""
