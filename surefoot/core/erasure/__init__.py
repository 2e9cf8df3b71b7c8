"""Define what the journal says of the removal of a person's records."""
