"""Define incidents: their journal events, their state, their timeline and the content of their reports."""
