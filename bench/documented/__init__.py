"""Run what a page of the documentation tells a reader to type."""
