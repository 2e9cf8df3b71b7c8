"""Fork model processes from a process that has imported their libraries once."""
