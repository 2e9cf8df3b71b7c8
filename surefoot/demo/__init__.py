"""Run the demo on public flight data."""
