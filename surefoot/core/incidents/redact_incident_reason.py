"""Redact the reason of an incident that the gateway's tripwire opened, since it may quote a request."""

from surefoot.core.journal.watch_events import IncidentOpened

TRIPWIRE_GATE_NAME = "tripwire"
"""Gate by which the gateway cuts a candidate; its reason quotes the last error."""


def redact_incident_reason(opened: IncidentOpened) -> str:
    """Why an incident was opened, without values of requests."""
    if opened.trigger == f"gate {TRIPWIRE_GATE_NAME}":
        return "too many of its answers failed, so the gateway cut it off"
    return opened.reason
