"""The MLflow Model Registry: versions, aliases, artifacts and errors."""
