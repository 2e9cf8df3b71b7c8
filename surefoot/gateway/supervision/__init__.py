"""Worker processes on one listening socket: start, reload, replace."""
