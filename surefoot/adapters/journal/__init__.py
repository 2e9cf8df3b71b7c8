"""Store the journal in a SQL database."""
