"""Describe versions, rollouts, drills and approvals for their pages."""
