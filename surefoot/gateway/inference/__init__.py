"""Answer requests: route them to a version, batch them, mirror them to a shadow."""
