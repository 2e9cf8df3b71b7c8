"""Use the MLflow Model Registry: versions, aliases, artifacts and errors."""
