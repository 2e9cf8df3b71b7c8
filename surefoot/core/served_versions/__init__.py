"""Summarise how each version has served: its hours and counts, whom it answered, and its quarantine."""
