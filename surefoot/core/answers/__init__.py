"""Read answers and labels as numbers and classes, and compute their shapes and losses."""
