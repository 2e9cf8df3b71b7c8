"""Print what the commands say; output that cannot be written stops no command."""
