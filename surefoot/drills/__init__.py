"""Replay traffic in a staging twin with a real gateway, inject a fault, and see whether the rollback works."""
