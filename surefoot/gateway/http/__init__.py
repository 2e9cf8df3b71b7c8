"""The protocols: MLflow scoring, Open Inference, metrics and OpenAPI."""
