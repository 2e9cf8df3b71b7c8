"""Probe whether a model answers each row by itself, at load and while it serves."""
