"""Damage model artifacts and checkpoints of tables in every way that a disk, or a person, does."""
