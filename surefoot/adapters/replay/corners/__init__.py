"""Replay corner cases: make synthetic rows of real requests, ask both versions, and find the smallest broken row."""
