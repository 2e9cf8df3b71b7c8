"""Handle the requests of each path: one module for each kind of endpoint."""
