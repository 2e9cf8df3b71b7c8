"""List the stages of a rollout in order, decide what a waiting rollout does, and track freezes and pauses."""
