"""Report to the journal that candidates were cut, and when fallback answers began and ended."""
