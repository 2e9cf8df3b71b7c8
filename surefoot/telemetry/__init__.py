"""Send OpenTelemetry spans to a collector, and write log lines as JSON."""
