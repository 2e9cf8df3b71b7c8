"""Serve programs instead of people: the JSON interface with access tokens, and webhooks of the registry."""
