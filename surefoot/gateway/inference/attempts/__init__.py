"""Define attempts to answer a request with a version, and convert their outcomes to answers and log records."""
