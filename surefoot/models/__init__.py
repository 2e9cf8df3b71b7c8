"""Run models in processes of their own: start them, exchange messages with them, and check their answers."""
