"""Call MLflow pyfunc models: JSON rows in, JSON values out."""
