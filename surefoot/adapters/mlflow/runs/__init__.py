"""The journal shown in MLflow: runs, transitions and version pages."""
