"""Check before each run of a scheduled flow whether it has work to do."""
