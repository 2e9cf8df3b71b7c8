"""Send lineage events and spans of the journal to their receivers."""
