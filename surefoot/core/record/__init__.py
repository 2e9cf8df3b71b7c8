"""Record what happens: events, their codec, the hash chain, and the state that follows from them."""
