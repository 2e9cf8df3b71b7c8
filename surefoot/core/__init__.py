"""Decide: values, events, decisions and statistics, without I/O, clock or randomness."""
