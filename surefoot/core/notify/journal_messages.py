"""Derive messages to people from the journal entries of a model."""

from collections.abc import Iterable, Iterator

from surefoot.core.domain import PROMOTED_STAGES, RolloutKind, Stage
from surefoot.core.incidents.incident_events import IncidentClosed, IncidentTriaged, MessageDrafted
from surefoot.core.incidents.redact_incident_reason import TRIPWIRE_GATE_NAME, redact_incident_reason
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.event_sentences import describe_rollout
from surefoot.core.journal.events import (
    LIVE_SPLIT_DRIFT_NAME,
    DriftFound,
    DriftResolved,
    Event,
    Paused,
    RolloutEnded,
    decode_event,
)
from surefoot.core.journal.fallback_events import FallbackBegan, FallbackDrilled, FallbackEnded
from surefoot.core.journal.ledger import Ledger
from surefoot.core.journal.watch_events import IncidentOpened
from surefoot.core.notify.decision_messages import derive_decision_messages
from surefoot.core.notify.message import Message, Severity, Topic, make_title
from surefoot.core.registry_drift.drift_events import (
    DriftReaction,
    DriftReactionChosen,
    describe_reaction,
    drift_incident_trigger,
    is_drift_trigger,
)
from surefoot.core.tables.data_events import DataRestoreRefused

_BACK = frozenset({Stage.ROLLED_BACK, Stage.FAST_ROLLED_BACK})
_TURNED_AWAY = frozenset({Stage.REJECTED, Stage.ABORTED})


def derive_entry_messages(ledger: Ledger, entries: Iterable[Entry]) -> Iterator[Message]:
    """What people are told of these entries; nothing for measurements and intermediate states.

    Law: a message names models, versions, gates and their numbers; no text of a request or of a model's error, which
    may hold features.

    Args:
        ledger: State of the model after all of them.
        entries: Entries of its journal.
    """
    for entry in entries:
        yield from _of_event(ledger, entry.seq, decode_event(entry.kind, entry.data))


def _of_event(ledger: Ledger, seq: int, event: Event) -> Iterator[Message]:
    model = ledger.model
    match event:
        case IncidentOpened():
            number = (event.subject or event.champion).number
            reason = redact_incident_reason(event)
            said = f"{reason}\nwhat to do now: surefoot playbook {model}\nreport: surefoot incident show"
            # A pager shows the title alone.
            title = make_title(f"{model}: incident {event.incident} of version {number}: {reason}")
            body = f"{said} {event.incident}"
            yield Message(seq, Topic.INCIDENT, _severity(event), title, body, incident=event.incident)
        case IncidentTriaged():
            column = f" ({event.column})" if event.column else ""
            title = make_title(f"{model}: incident {event.incident}, cause {event.cause}{column}")
            body = f"evidence: surefoot incident show {event.incident}"
            yield Message(seq, Topic.CAUSE, Severity.INFO, title, body, incident=event.incident)
        case IncidentClosed():
            false = "as a false alarm" if event.false_alarm else f"cause: {event.cause or 'not known'}"
            title = make_title(f"{model}: incident {event.incident} is closed, {false}")
            yield Message(seq, Topic.CLOSED, Severity.INFO, title, event.reason, incident=event.incident)
        case MessageDrafted() if event.send and event.text:
            subject, _, body = event.text.partition("\n")
            title = make_title(subject.removeprefix("Subject:"))
            yield Message(
                seq, Topic.DRAFT, Severity.INFO, title, body.strip(), incident=event.incident, whom=event.audience
            )
        case _:
            yield from _of_rollout(ledger, seq, event)


def _severity(event: IncidentOpened) -> Severity:
    """How urgent an incident is: callers notice nothing of a registry that disagrees with what is served."""
    what = event.trigger if is_drift_trigger(event.trigger) else ""
    return Severity.WARNING if what and what != drift_incident_trigger(LIVE_SPLIT_DRIFT_NAME) else Severity.PAGE


def _of_rollout(ledger: Ledger, seq: int, event: Event) -> Iterator[Message]:
    """Endings and waits of rollouts."""
    model = ledger.model
    match event:
        case RolloutEnded() if event.rollout in ledger.rollouts:
            opened = ledger.rollouts[event.rollout].opened
            incident = next((i.name for i in ledger.incidents.known.values() if i.rollback == event.rollout), "")
            back = opened.kind == RolloutKind.ROLLBACK or event.terminal_stage in _BACK
            topic = Topic.ROLLBACK if back else Topic.PROMOTION
            promoted = event.terminal_stage in PROMOTED_STAGES
            severe = back or (not promoted and event.terminal_stage in _TURNED_AWAY)
            title = make_title(f"{model}: {describe_rollout(opened)} ended as {event.terminal_stage}")
            severity = Severity.WARNING if severe else Severity.INFO
            ending = ledger.rollouts[event.rollout].ending
            quotes = ending is not None and (
                ending.gate == TRIPWIRE_GATE_NAME or (not ending.gate and ending.terminal_stage is Stage.REJECTED)
            )
            body = f"why: surefoot history {model}" if quotes else event.reason
            yield Message(seq, topic, severity, title, body, incident=incident)
        case Paused() if event.rollout in ledger.rollouts:
            opened = ledger.rollouts[event.rollout].opened
            title = make_title(f"{model}: {describe_rollout(opened)} waits, gate {event.gate} is {event.outcome}")
            ways = f"surefoot status {model}; surefoot abort {model} --reason '...'"
            if opened.kind == RolloutKind.ROLLBACK:
                ways = f"surefoot rollback {model} --now moves all traffic; surefoot abort {model} calls it off"
            yield Message(seq, Topic.WAIT, Severity.WARNING, title, f"{event.reason}\n{ways}")
        case _:
            yield from _of_world(ledger, seq, event)


def _of_world(ledger: Ledger, seq: int, event: Event) -> Iterator[Message]:
    """Drift, fallbacks and tables; and what people decide."""
    model = ledger.model
    match event:
        case DriftFound():
            title = make_title(f"{model}: drift, {event.what} should be {event.expected}")
            severity = Severity.PAGE if event.what == LIVE_SPLIT_DRIFT_NAME else Severity.WARNING
            yield Message(seq, Topic.DRIFT, severity, title, f"{event.seen}\nsurefoot status {model}")
        case DriftReactionChosen():
            title = make_title(f"{model}: {describe_reaction(event)}")
            severity = Severity.INFO if event.reaction is DriftReaction.REVERT else Severity.WARNING
            yield Message(seq, Topic.DRIFT, severity, title, f"surefoot status {model}")
        case DriftResolved():
            title = make_title(f"{model}: {event.what} is as it should be again")
            yield Message(seq, Topic.DRIFT, Severity.INFO, title, event.how)
        case FallbackBegan():
            by = f"version {event.standby.number}" if event.standby is not None else "the fallback of the policy"
            title = make_title(f"{model}: version {event.champion.number} fails, callers get answers of {by}")
            yield Message(seq, Topic.FALLBACK, Severity.PAGE, title, f"how it fails: surefoot status {model}")
        case FallbackEnded():
            title = make_title(f"{model}: version {event.champion.number} answers again")
            yield Message(seq, Topic.FALLBACK, Severity.INFO, title, f"surefoot history {model}")
        case FallbackDrilled() if event.problem:
            title = make_title(f"{model}: the drill of the fallback {event.display_name} has failed")
            yield Message(seq, Topic.FALLBACK, Severity.WARNING, title, f"why: surefoot fallback {model}")
        case DataRestoreRefused():
            title = make_title(f"{model}: table {event.name} is not restored")
            yield Message(seq, Topic.DATA, Severity.WARNING, title, f"why, and what to do: surefoot data {model}")
        case _:
            yield from derive_decision_messages(ledger, seq, event)
