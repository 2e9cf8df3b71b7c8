"""Connect policies whose evidence is in a store of others to the adapters that read it."""
