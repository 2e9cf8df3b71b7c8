"""The policy of a model: its types, and how a policy file is parsed and checked."""
