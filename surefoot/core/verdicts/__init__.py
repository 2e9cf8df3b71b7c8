"""Build verdicts and format their sentences, for every kind of gate."""
