"""Measure the evidence for gates from the prediction log and its labels."""
