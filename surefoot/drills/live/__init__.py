"""Rehearse a rollback in production, with the champion in both arms."""
