"""Derive the reminders that are due during an incident, and the message that traffic is restored."""

from collections.abc import Iterator, Sequence

from surefoot.core.durations import format_duration
from surefoot.core.incidents.incident_state import Incident
from surefoot.core.incidents.playbook import list_escalations
from surefoot.core.incidents.redact_incident_reason import redact_incident_reason
from surefoot.core.incidents.report_deadlines import DAY_S, report_deadlines
from surefoot.core.incidents.timeline import Moment, build_timeline
from surefoot.core.journal.chain import Entry
from surefoot.core.notify.message import Message, Severity, Topic, make_title
from surefoot.core.policy.recovery.playbook import Playbook

_LEAD_S = DAY_S
"""How long before a period of the law is over people are reminded [seconds]."""


def derive_restored_message(model: str, entries: Sequence[Entry], incident: Incident) -> Message | None:
    """That traffic is back with a good version; None while it is not.

    Args:
        model: Registered model.
        entries: The whole journal of the model.
        incident: The incident.
    """
    line = build_timeline(entries, incident)
    back = next((row for row in reversed(line.rows) if row.moment is Moment.TRAFFIC_BACK), None)
    if back is None:
        return None
    title = make_title(f"{model}: traffic is back, incident {incident.name} of version {incident.version.number}")
    known = "not known" if line.time_to_restore is None else format_duration(line.time_to_restore)
    body = f"{back.text}; restored {known} after it was detected\nwhat is left to do: surefoot playbook {model}"
    return Message(incident.seq, Topic.RESTORED, Severity.WARNING, title, body, incident=incident.name)


def derive_due_reminders(
    model: str, incident: Incident, playbook: Playbook, now: float, oldest: float
) -> Iterator[Message]:
    """Roles that are to be called by now, and periods of the law that end soon, of an incident that is open.

    Args:
        model: Registered model.
        incident: The incident.
        playbook: Roles and escalations of its policy.
        now: The time [Unix seconds].
        oldest: What was due before this is not told any more [Unix seconds].
    """
    if incident.closed is not None:
        return
    for step in list_escalations(incident, playbook):
        if step.due is None or step.done_by or not oldest <= step.due <= now:
            continue
        title = make_title(
            f"{model}: {step.role} is called, incident {incident.name} of version {incident.version.number} is open"
        )
        done = f"surefoot playbook {model} --done {step.name}"
        todo = f"what to do now: surefoot playbook {model}; once done: {done}"
        body = f"{step.text}\n{redact_incident_reason(incident.opened)}\n{todo}"
        yield Message(incident.seq, Topic.ESCALATION, Severity.PAGE, title, body, step.name, incident.name, step.role)
    for one in report_deadlines(incident.at):
        if not oldest <= one.due - _LEAD_S <= now:
            continue
        title = make_title(f"{model}: incident {incident.name}, {one.days} days are over in {format_duration(_LEAD_S)}")
        body = (
            f"A report to an authority would be due {one.days} days after the provider became aware of {one.case}"
            " (Regulation (EU) 2024/1689, article 73). Whether the law applies, a person decides.\n"
            f"what the record knows: surefoot incident show {incident.name}"
        )
        key = f"{one.days}-days"
        yield Message(incident.seq, Topic.DEADLINE, Severity.WARNING, title, body, key, incident.name)
