"""Incidents with a known cause, for `bench.triage`."""
