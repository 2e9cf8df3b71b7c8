"""Wrap use cases in Prefect tasks with time limits, retries and artifacts; no task decides on a number."""
