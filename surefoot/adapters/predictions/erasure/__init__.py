"""Remove the records of one unit from the prediction log, in segments and in Parquet tables."""
