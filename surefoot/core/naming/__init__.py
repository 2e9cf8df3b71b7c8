"""Define which names a registered model may have, and the names of the files that belong to it."""
