"""One module a kind of evidence: a gate, its evidence and a level in, a verdict out."""
