"""MLflow pyfunc models: rows in, plain answers out."""
