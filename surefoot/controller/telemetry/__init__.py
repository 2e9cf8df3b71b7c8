"""Send telemetry of the journal from the controller, in background threads."""
