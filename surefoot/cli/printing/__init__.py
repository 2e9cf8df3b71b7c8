"""What the commands print, and how output that fails stops nothing."""
