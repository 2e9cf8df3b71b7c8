"""Define the commands about what a version has served: how it does, whom it answered, and the tables with it."""
