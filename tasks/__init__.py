"""Patience: thin task wrappers with timeouts, retries and artifacts; no logic."""
