"""Read the features of logged requests as Arrow tables in the types that a model declares."""
