"""Judge evidence against thresholds, and verify journalled verdicts."""
