"""Reach an MLflow server over HTTP, check what it can do, and register a webhook with it."""
