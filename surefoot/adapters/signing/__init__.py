"""Check that a policy's keys are readable, and that one of them has signed a version."""
