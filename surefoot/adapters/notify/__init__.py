"""Send messages to people through Apprise, from an outbox in the database of the journal."""
