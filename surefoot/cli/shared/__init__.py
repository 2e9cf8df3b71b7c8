"""Define what several commands share: who runs a command, and how long it waits for servers."""
