"""Engines that take a candidate back under load, and the callers that watch them do it."""
