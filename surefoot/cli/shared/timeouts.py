"""Define how long a command waits for an answer from the model registry."""

REGISTRY_TIMEOUT_S = 5.0
"""How long a person waits for one answer of a registry that is down [seconds]."""
