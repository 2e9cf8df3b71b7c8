"""How: one outside world a file; each maps foreign errors to core.errors."""
