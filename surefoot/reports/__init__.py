"""Draw plots and pages for people."""
