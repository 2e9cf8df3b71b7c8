"""Define the sections of a policy about what goes back, and what answers when nothing else can."""
