"""Report what versions answered callers: counts, lists of exposed requests, and corrected answers."""
