"""List the steps and escalations that people must carry out in a model's open incident."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from surefoot.core.incidents.incident_events import NoteKind
from surefoot.core.incidents.incident_state import Incident
from surefoot.core.journal.ledger import Ledger
from surefoot.core.policy.recovery.playbook import Playbook
from surefoot.core.registry_drift.drift_events import is_drift_trigger
from surefoot.core.triage.triage import Cause

MESSAGE_AUDIENCES = ("users", "support", "management")
"""Who is told about a version that was taken back."""


@dataclass(frozen=True, slots=True)
class PlaybookStep:
    """One step that a person has to take, such as a command to run.

    Attributes:
        name: What it is called in commands and in the record.
        text: What to do, as one sentence.
        command: The command that does it, or that shows what is needed; empty without one.
        role: Role of the policy that does it; empty where it names none.
        due: When it should be done [Unix seconds]; None where the policy says nothing.
        done_by: Who has done it; empty while it is not done.
    """

    name: str
    text: str
    command: str
    role: str = ""
    due: float | None = None
    done_by: str = ""


def find_open_incident(ledger: Ledger) -> Incident | None:
    """The latest incident that no person has closed."""
    return next((one for one in reversed(tuple(ledger.incidents.known.values())) if one.closed is None), None)


def list_playbook_steps(ledger: Ledger, playbook: Playbook) -> tuple[PlaybookStep, ...]:
    """What is to be done about the latest open incident, in the order in which it is done; nothing without one.

    Args:
        ledger: State of the model.
        playbook: Roles and escalations of its policy.
    """
    incident = find_open_incident(ledger)
    if incident is None:
        return ()
    found = (*_restoring(ledger, incident), *_calling(incident, playbook), *_understanding(ledger, incident))
    return _with_done(incident, found)


def list_escalations(incident: Incident, playbook: Playbook) -> tuple[PlaybookStep, ...]:
    """The roles that are called about an incident, when, and whether they have been.

    Args:
        incident: The incident.
        playbook: Roles and escalations of its policy.
    """
    return _with_done(incident, tuple(_calling(incident, playbook)))


def _with_done(incident: Incident, steps: tuple[PlaybookStep, ...]) -> tuple[PlaybookStep, ...]:
    """The steps, with who has recorded that they are done."""
    noted = {note.event.source: note.actor for note in incident.notes if note.event.kind is NoteKind.STEP}
    return tuple(replace(step, done_by=step.done_by or noted.get(step.name, "")) for step in steps)


def _restoring(ledger: Ledger, incident: Incident) -> Iterator[PlaybookStep]:
    """Traffic, registry and data."""
    model, bad = ledger.model, incident.version.number
    if is_drift_trigger(incident.opened.trigger):
        said = f"Find out who has changed it, and whether that is wanted: {incident.opened.reason}."
        yield PlaybookStep("changed", said, f"surefoot history {model}")
    elif not incident.rollback:
        said = f"Decide: take version {bad} back, or keep it and note why. Nothing was taken back by itself."
        yield PlaybookStep("decide", said, f"surefoot rollback {model} --reason '...'")
    elif incident.rollback == ledger.open:
        stage = ledger.rollouts[ledger.open].stage
        said = f"Wait until the rollback of version {bad} is over ({stage}), or give all traffic back at once."
        yield PlaybookStep("traffic", said, f"surefoot rollback {model} --now")
    for drift in ledger.drifts.values():
        said = f"{drift.what} should be {drift.expected}: {drift.seen}. Set it right, or find out who changed it."
        command = f"surefoot repair {model}" if drift.alias == "champion" else f"surefoot history {model}"
        yield PlaybookStep(f"drift-{drift.what.replace(' ', '-')}", said, command)
    for due in ledger.data.due.values():
        state = f"was refused: {due.refused}" if due.refused else "is not restored yet"
        yield PlaybookStep(f"table-{due.name}", f"Table {due.name} {state}.", f"surefoot data {model}")


def _calling(incident: Incident, playbook: Playbook) -> Iterator[PlaybookStep]:
    """Who is called by the policy, and when."""
    for place, one in enumerate(playbook.escalate, 1):
        people = ", ".join(playbook.roles.get(one.to, ())) or "the policy names no person"
        said = f"Call {one.to} ({people})."
        command = f"surefoot incident told {incident.name} '...' --whom {one.to}"
        yield PlaybookStep(f"call-{place}-{one.to}", said, command, one.to, incident.at + one.after)


def _understanding(ledger: Ledger, incident: Incident) -> Iterator[PlaybookStep]:
    """Cause, corrected answers, messages, and the end."""
    if not is_drift_trigger(incident.opened.trigger):
        yield from _explaining(ledger, incident)
    said = "Close the incident with its cause, or as a false alarm."
    yield PlaybookStep("close", said, f"surefoot incident close {incident.name} '...' --cause '...'")


def _explaining(ledger: Ledger, incident: Incident) -> Iterator[PlaybookStep]:
    """Cause, corrected answers and messages of an incident about a version."""
    model, bad = ledger.model, incident.version.number
    if incident.triaged is None or incident.triaged.cause is Cause.UNKNOWN:
        tells = "; ".join(incident.triaged.would_tell) if incident.triaged else "its answers are listed first"
        said = f"Find the cause. What would tell it: {tells}."
        yield PlaybookStep("cause", said, f"surefoot incident triage {incident.name}")
    else:
        said = f"Confirm the cause, {incident.triaged.cause_in_words}: {incident.triaged.sentence}."
        yield PlaybookStep("cause", said, f"surefoot incident show {incident.name}")
    if incident.rollback and incident.rollback != ledger.open:
        said = f"Correct the answers that version {bad} gave, for those who use them downstream."
        yield PlaybookStep("correct", said, f"surefoot correct {model}")
    told = {note.event.source: note.actor for note in incident.notes if note.event.kind is NoteKind.MESSAGE}
    for audience in MESSAGE_AUDIENCES:
        said = f"Tell {audience}: a draft is made from the incident."
        command = f"surefoot incident draft {incident.name} --to {audience}"
        yield PlaybookStep(f"tell-{audience}", said, command, done_by=told.get(audience, ""))
