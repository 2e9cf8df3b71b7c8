"""Define table checkpoints: their journal events, and the tables that a rollback must restore."""
