"""Keep and write the configuration files that go with model versions."""
