"""Run the local stack: MLflow, Prefect and the gateway as processes of this machine."""
