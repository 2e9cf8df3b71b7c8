"""Answer requests that a version fails: by the next rung, or within a time limit."""
