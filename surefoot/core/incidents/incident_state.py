"""Define the state of a model's incidents, and how each event changes it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from surefoot.core.domain import Version
from surefoot.core.incidents.incident_events import (
    EvidenceHeld,
    EvidenceHoldLifted,
    IncidentClosed,
    IncidentEvent,
    IncidentNoted,
    IncidentReported,
    IncidentTriaged,
    MessageDrafted,
)
from surefoot.core.journal.watch_events import IncidentOpened
from surefoot.core.registry_drift.drift_events import is_drift_trigger

_OLDEST_S = 28 * 86400.0
"""What was taken back longer ago than this gets no incident any more [seconds]."""


@dataclass(frozen=True, slots=True)
class Note:
    """A note of an incident.

    Attributes:
        at: When it was journalled [Unix seconds].
        actor: Who added it.
        event: What was added.
    """

    at: float
    actor: str
    event: IncidentNoted


@dataclass(frozen=True, slots=True)
class Incident:
    """State of one incident after all journal entries so far.

    Attributes:
        opened: The event that opened it.
        at: When [Unix seconds].
        seq: Sequence of that event.
        rollback: Rollout that took the version back; empty where none has.
        changed: Sequence of the last entry that the report has to tell of.
        notes: What people added, oldest first.
        reported: The latest report; None before the first.
        triaged: The latest triage of its cause; None before the first.
        held: What of its evidence is kept; None before that was journalled, and after the hold was lifted.
        drafts: The latest draft of a message by audience.
        lifted: Why the hold on its evidence was lifted; empty while it was not.
        closed: How a person closed it; None while it is open.
        closed_at: When [Unix seconds].
        closed_by: Who.
    """

    opened: IncidentOpened
    at: float
    seq: int
    rollback: str = ""
    changed: int = 0
    notes: tuple[Note, ...] = ()
    reported: IncidentReported | None = None
    triaged: IncidentTriaged | None = None
    held: EvidenceHeld | None = None
    drafts: Mapping[str, MessageDrafted] = field(default_factory=dict)
    lifted: str = ""
    closed: IncidentClosed | None = None
    closed_at: float = 0.0
    closed_by: str = ""

    @property
    def name(self) -> str:
        """Id of the incident."""
        return self.opened.incident

    @property
    def version(self) -> Version:
        """The version that the incident is about."""
        return self.opened.subject or self.opened.champion

    @property
    def triage_due(self) -> bool:
        """Whether its cause was not looked for, though the answers of the version are listed."""
        listed = self.reported is not None and self.reported.requests is not None
        return self.triaged is None and bool(self.rollback) and listed

    def due_drafts(self, audiences: Iterable[str]) -> tuple[str, ...]:
        """Audiences without a draft, or whose draft was made before the answers of the version were listed.

        Args:
            audiences: Everyone for whom a message is drafted.
        """
        if self.reported is None or self.closed is not None or not self.rollback:
            return ()
        listed = self.reported.requests is not None
        made = {name: one.counted or not listed for name, one in self.drafts.items()}
        return tuple(name for name in audiences if not made.get(name, False))

    @property
    def report_due(self) -> bool:
        """Whether something has happened since the latest report."""
        return self.reported is None or self.reported.upto < self.changed


@dataclass(frozen=True, slots=True)
class IncidentState:
    """All incidents of a model.

    Attributes:
        known: Incidents by id, oldest first.
        decided: Rollouts that are taking a version back from callers, or have, and have no incident yet: the version
            of each, and when that was decided [Unix seconds], by rollout.
    """

    known: Mapping[str, Incident] = field(default_factory=dict)
    decided: Mapping[str, tuple[Version, float]] = field(default_factory=dict)

    def due(self, now: float) -> dict[str, Version]:
        """Rollouts that need an incident: the version of each, by rollout.

        What was taken back long ago, by a release that opened no incidents, gets none after an upgrade.

        Args:
            now: The time [Unix seconds].
        """
        return {name: version for name, (version, at) in self.decided.items() if now - at <= _OLDEST_S}

    def after_opening(self, event: IncidentOpened, seq: int, at: float) -> "IncidentState":
        """The incidents after one was opened."""
        opened = Incident(event, at, seq, rollback=event.rollback, changed=seq)
        left = {rollout: one for rollout, one in self.decided.items() if rollout != event.rollback}
        return IncidentState({**self.known, event.incident: opened}, left)

    def after_decision(self, rollout: str, version: Version, seq: int, at: float) -> "IncidentState":
        """The incidents after it was decided that a rollout takes a version back from callers.

        An open incident about the same bytes is the reason for it, so that no other one is opened.
        """
        if any(one.rollback == rollout for one in self.known.values()):
            return self
        for name, one in reversed(tuple(self.known.items())):
            apart = one.rollback or is_drift_trigger(one.opened.trigger)  # a moved alias says nothing of the version
            if one.version.digest == version.digest and one.closed is None and not apart:
                return replace(self, known={**self.known, name: replace(one, rollback=rollout, changed=seq)})
        return replace(self, decided={**self.decided, rollout: (version, at)})

    def after_rollout_event(self, rollout: str, seq: int) -> "IncidentState":
        """The incidents after something that the report of a rollout's incident has to tell of."""
        changed = {name: replace(one, changed=seq) for name, one in self.known.items() if rollout == one.rollback}
        return replace(self, known={**self.known, **changed}) if rollout and changed else self

    def after_corrections(self, number: str, seq: int) -> "IncidentState":
        """The incidents after answers of a version were corrected: the latest about that version tells of it."""
        name = next((name for name, one in reversed(tuple(self.known.items())) if one.version.number == number), "")
        changed = {name: replace(self.known[name], changed=seq)} if name else {}
        return replace(self, known={**self.known, **changed}) if changed else self

    def after_event(self, event: IncidentEvent, seq: int, at: float, actor: str) -> "IncidentState":
        """The incidents after an event of one of them."""
        one = self.known.get(event.incident)
        if one is None:
            return self
        match event:
            case IncidentNoted():
                one = replace(one, notes=(*one.notes, Note(at, actor, event)), changed=seq)
            case IncidentReported():
                one = replace(one, reported=event)
            case MessageDrafted():
                one = replace(one, drafts={**one.drafts, event.audience: event}, changed=seq)
            case IncidentTriaged():
                one = replace(one, triaged=event, changed=seq)
            case EvidenceHeld():
                one = replace(one, held=event, changed=seq)
            case EvidenceHoldLifted():
                one = replace(one, held=None, lifted=event.reason, changed=seq)
            case IncidentClosed():
                one = replace(one, closed=event, closed_at=at, closed_by=actor, changed=seq)
        return replace(self, known={**self.known, event.incident: one})

    @property
    def held_since(self) -> float:
        """Beginning of the oldest window of the log that is held [Unix seconds]; infinity without one."""
        return min((one.held.since for one in self.known.values() if one.held is not None), default=float("inf"))
