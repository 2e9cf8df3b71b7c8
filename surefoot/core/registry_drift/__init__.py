"""Decide what follows when a person or another program has changed the registry behind the journal's back."""
