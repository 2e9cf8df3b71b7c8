"""Check what an MLflow server can do, send it HTTP requests, and register a webhook with it."""
