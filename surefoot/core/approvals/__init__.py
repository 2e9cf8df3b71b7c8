"""Decide whether a signed statement approves a rollout that waits for people, and keep count of approvals."""
