"""Build verdicts and put them into words, whatever the gate."""
