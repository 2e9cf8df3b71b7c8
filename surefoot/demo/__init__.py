"""Play the demo's story on real flights."""
