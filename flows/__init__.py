"""Order the stages in Prefect flows; no flow decides on a number."""
