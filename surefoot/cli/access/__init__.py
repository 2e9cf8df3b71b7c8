"""Define the commands of access control, and check the right of the account that runs a command."""
