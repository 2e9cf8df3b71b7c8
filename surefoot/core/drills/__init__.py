"""Describe drills: rollbacks that are rehearsed under an injected fault."""
