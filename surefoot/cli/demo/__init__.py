"""Define the command `demo`: its story on a running stack, and what it prints."""
