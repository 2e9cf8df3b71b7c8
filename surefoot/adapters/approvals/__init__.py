"""Verify SSH signatures of approvers, and read the files that say who they are."""
