"""Decide which messages the journal of a model asks for, and who they are for."""
