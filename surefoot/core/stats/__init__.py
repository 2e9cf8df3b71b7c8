"""Formulas of the judge, one function a published result."""
