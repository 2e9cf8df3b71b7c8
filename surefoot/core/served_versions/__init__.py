"""Tell how each version has served: its hours and counts, whom it answered, and whether it may serve again."""
