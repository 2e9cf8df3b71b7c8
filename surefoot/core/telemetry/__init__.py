"""Describe rollouts and requests as OpenLineage events and OpenTelemetry spans."""
