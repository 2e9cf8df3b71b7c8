"""Define the journal: events, their JSON, the hash chain, and the state folded from them."""
