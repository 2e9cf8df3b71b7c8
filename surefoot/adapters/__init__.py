"""Connect the ports to the outside world: one folder each, which maps its library's errors to core.errors."""
