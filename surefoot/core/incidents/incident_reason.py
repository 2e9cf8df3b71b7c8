"""Redact an incident's reason, because errors may quote a caller's request."""

from surefoot.core.journal.watch_events import IncidentOpened

TRIPWIRE_GATE = "tripwire"
"""Gate by which the gateway cuts a candidate; its reason quotes the last error."""


def incident_reason(opened: IncidentOpened) -> str:
    """Why an incident was opened, without values of requests."""
    if opened.trigger == f"gate {TRIPWIRE_GATE}":
        return "too many of its answers failed, so the gateway cut it off"
    return opened.reason
