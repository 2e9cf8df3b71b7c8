"""Define the commands that write, compact, erase and score what is logged and journalled of a model."""
