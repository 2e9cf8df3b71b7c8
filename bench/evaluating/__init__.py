"""Measure how fast both versions are evaluated on logged requests, beside the models alone."""
