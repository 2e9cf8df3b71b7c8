"""Serve HTTP: MLflow scoring, Open Inference, labels, routes, metrics and OpenAPI."""
