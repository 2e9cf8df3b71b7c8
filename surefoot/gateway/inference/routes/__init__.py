"""Hold the route that a worker serves: a snapshot, and what it has loaded for it."""
