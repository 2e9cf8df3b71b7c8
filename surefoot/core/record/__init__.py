"""The journal's content: events, their codec, the hash chain, and the state that follows from them."""
