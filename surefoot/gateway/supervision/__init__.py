"""Run worker processes on one listening socket: start, reload and replace them."""
