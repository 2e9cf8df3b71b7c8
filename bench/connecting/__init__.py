"""Start servers of somebody else, and run a rollout through them."""
