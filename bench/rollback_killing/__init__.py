"""Kill one process of a whole stack while a rollback is under way, and compare the world with the journal."""
