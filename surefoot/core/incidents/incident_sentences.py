"""Describe each journal event of an incident in one sentence."""

from surefoot.core.incidents.incident_events import (
    EvidenceHeld,
    EvidenceHoldLifted,
    IncidentClosed,
    IncidentEvent,
    IncidentNoted,
    IncidentReported,
    IncidentTriaged,
    MessageDrafted,
    NoteKind,
)

_NOTED = {
    NoteKind.NOTE: "note",
    NoteKind.FEEDBACK: "feedback",
    NoteKind.STEP: "step done",
    NoteKind.MESSAGE: "message",
}


def describe_incident_event(event: IncidentEvent) -> str:
    """What happened to an incident, as one line for a person."""
    name = f"incident {event.incident}"
    match event:
        case IncidentNoted():
            source = f" of {event.source}" if event.source else ""
            return f"{name}, {_NOTED[event.kind]}{source}: {event.text}"
        case IncidentReported():
            counted = "" if event.requests is None else f", {event.requests:,} answers of the version"
            return f"{name} is reported{counted}: {event.file}"
        case IncidentTriaged():
            return f"{name}, cause {event.cause_in_words}: {event.sentence}"
        case MessageDrafted():
            if event.problem:
                return f"{name}: no message to {event.audience} is drafted: {event.problem}"
            sent = ", and is sent by the policy" if event.send else ", and is not sent by itself"
            return f"{name}: a message to {event.audience} is drafted{sent}"
        case EvidenceHeld():
            missing = "".join(f"; not {what}: {why}" for what, why in event.missing.items())
            return f"{name}: its evidence is kept until a person lifts the hold ({', '.join(event.digests)}{missing})"
        case EvidenceHoldLifted():
            return f"{name}: its evidence may expire: {event.reason}"
        case IncidentClosed():
            caused = f", caused by {event.cause}" if event.cause else ", its cause is not known"
            false = ", a false alarm" if event.false_alarm else ""
            return f"{name} is closed{false}{caused}: {event.reason}"
