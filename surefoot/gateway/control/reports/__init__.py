"""Report to the journal what the gateway has cut, and when fallback answers began and ended."""
