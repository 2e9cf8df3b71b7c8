"""Define the policy of a model, and parse and check policy files."""
