"""Show the journal in MLflow: runs, transitions and pages of versions."""
