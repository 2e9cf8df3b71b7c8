"""Send the journal to the telemetry receivers that the settings name."""
