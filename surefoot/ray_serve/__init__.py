"""Run inside Ray: the applications of Ray Serve that answer a model's callers when its engine is `ray`."""
