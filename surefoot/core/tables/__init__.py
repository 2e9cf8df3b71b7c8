"""Define checkpoints of tables: what is journalled of them, and what a rollback still owes them."""
