"""Read configuration files."""
