"""From a request to its answer: routing to a version, batches, shadows."""
