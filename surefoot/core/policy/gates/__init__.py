"""Define the gates of a policy: each metric has a class with exactly its own keys."""
