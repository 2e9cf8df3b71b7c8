"""Carry out the parts of a rollback: steps, table restores, quarantine and fallback answers."""
