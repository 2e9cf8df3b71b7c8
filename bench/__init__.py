"""Benchmarks: numbers that the documents quote come from here."""
