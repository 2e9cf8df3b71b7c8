"""Read files of recorded requests, for back-tests."""
