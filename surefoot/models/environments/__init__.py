"""Build and use the Python environment that a model version was registered with."""
