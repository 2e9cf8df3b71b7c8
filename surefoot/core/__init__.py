"""The pure heart: values, events, decisions and statistics; no I/O, no clock, no randomness."""
