"""Judge one kind of evidence a module: a gate, its evidence and its thresholds in, a verdict out."""
