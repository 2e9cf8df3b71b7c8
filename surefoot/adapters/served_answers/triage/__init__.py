"""Measure what may have caused an incident: failures, losses, shifts of columns, and traces of single requests."""
