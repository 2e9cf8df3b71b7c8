"""Wrap use cases in Prefect tasks with time limits, retries and artifacts, without decisions on values."""
