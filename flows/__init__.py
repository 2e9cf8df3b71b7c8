"""When: the order of stages; no branch on a number, no logic."""
