"""The judge and its rivals on the same simulated traffic."""
