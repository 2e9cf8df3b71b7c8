"""Answers and labels: how they are read as numbers and classes, their shapes, and their losses."""
