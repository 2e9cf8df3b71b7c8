"""Compute the statistics of the judge, one function a published formula."""
