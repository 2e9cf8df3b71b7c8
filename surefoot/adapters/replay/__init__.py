"""Score logged or recorded requests with both versions: the paired evidence of shadow and back-test."""
