"""The local stack: MLflow, Prefect and the gateway as processes of this machine."""
