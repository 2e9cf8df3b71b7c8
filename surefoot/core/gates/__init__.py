"""Judge a gate from its evidence and thresholds: one module for each kind of evidence."""
