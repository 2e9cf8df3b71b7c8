"""A long journal, and many viewers of the status page."""
