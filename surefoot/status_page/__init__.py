"""Serve the status page: what is served, whether it is well, what changed last, and what a person can do."""
