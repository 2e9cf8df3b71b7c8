"""Carry out what belongs to a rollback: its steps, tables, quarantine and fallback answers."""
