"""Staged promotion and gated rollback of MLflow models."""
