"""Rehearse rollbacks in a twin, an isolated copy of production: replay traffic, inject a fault, check the rollback."""
