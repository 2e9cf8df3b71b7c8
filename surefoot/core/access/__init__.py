"""Decide who may do what: roles, access tokens, and signed messages of the registry."""
