"""Define the policy sections on rollback: its steps, the tables to restore, and the fallback answer."""
