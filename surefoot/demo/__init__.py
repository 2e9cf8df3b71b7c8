"""The story on real flights."""
