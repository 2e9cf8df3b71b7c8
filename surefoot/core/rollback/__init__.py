"""Decide how a rollback moves traffic, aliases and configuration files: at once or in steps."""
