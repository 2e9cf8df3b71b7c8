"""Check suites of Great Expectations, run them, and put what they find into words."""
