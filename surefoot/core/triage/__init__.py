"""Decide what caused an incident from measured facts."""
