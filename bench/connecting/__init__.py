"""Start servers that Surefoot does not manage, and run a rollout through them."""
