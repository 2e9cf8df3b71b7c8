"""Great Expectations: suites checked, run and put into words."""
