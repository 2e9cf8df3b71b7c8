"""Whether a model answers each row by itself: proved at load, watched live."""
