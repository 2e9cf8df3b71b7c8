"""Track registry drift (changes made by hand), and the reactions to it, from journal events."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from surefoot.core.domain import RolloutKind
from surefoot.core.incidents.incident_state import IncidentState
from surefoot.core.journal.events import (
    CandidateRefused,
    DriftFound,
    DriftResolved,
    EndDecided,
    Event,
    RolloutOpened,
)
from surefoot.core.journal.watch_events import IncidentOpened
from surefoot.core.registry_drift.drift_events import (
    DRIFT_TRIGGER_PREFIX,
    DriftReaction,
    DriftReactionChosen,
    drift_incident_trigger,
    is_drift_trigger,
)

_REMEMBERED = 16
"""How many times of setting an alias back are remembered [count]: more than are ever allowed in a day."""
_Value = TypeVar("_Value")
CHAMPION_ALIAS_REQUEST_SOURCE = "champion"
"""What asks for a version on which a person has set alias `champion`, under `on_drift: adopt`."""
_RESOLVED_REPORT_S = 3600.0
"""How long after a difference was found it gets an incident though it is resolved [seconds]."""


@dataclass(frozen=True, slots=True)
class DriftState:
    """Reactions to differences, and differences that have no incident yet.

    Attributes:
        chosen: The reaction to each unresolved difference, by what disagrees.
        pending: What disagrees where the chosen reaction has not been carried out yet.
        set_back: When it was decided to set an alias back [Unix seconds], oldest first.
        adopting: Number of the version that is to be promoted since a person has set alias `champion` on it; empty
            without one.
        unreported: Differences of another hand that have no incident yet, and when each was found [Unix seconds].
    """

    chosen: Mapping[str, DriftReactionChosen] = field(default_factory=dict)
    pending: frozenset[str] = frozenset()
    set_back: tuple[float, ...] = ()
    adopting: str = ""
    unreported: Mapping[str, tuple[DriftFound, float]] = field(default_factory=dict)

    def due_incidents(self, unresolved: Mapping[str, DriftFound], now: float) -> tuple[DriftFound, ...]:
        """Differences that need an incident: those that still hold, and those that were found a short time ago.

        Args:
            unresolved: Differences that still hold, by what disagrees.
            now: The time [Unix seconds].
        """
        return tuple(
            drift
            for what, (drift, at) in self.unreported.items()
            if what in unresolved or now - at <= _RESOLVED_REPORT_S
        )

    def after_event(self, event: Event, at: float, incidents: IncidentState) -> "DriftState":
        """The state after one more event.

        Args:
            event: The event.
            at: When it was journalled [Unix seconds].
            incidents: The incidents after it.
        """
        match event:
            case DriftFound() if not event.repeat:
                told = any(
                    one.closed is None and one.opened.trigger == drift_incident_trigger(event.what)
                    for one in incidents.known.values()
                )
                return self if told else replace(self, unreported={**self.unreported, event.what: (event, at)})
            case IncidentOpened() if is_drift_trigger(event.trigger):
                return replace(
                    self, unreported=_without(self.unreported, event.trigger.removeprefix(DRIFT_TRIGGER_PREFIX))
                )
            case DriftReactionChosen():
                return self._after_choice(event, at)
            case DriftResolved():
                return self.without(event.what)
            case RolloutOpened() if event.kind == RolloutKind.PROMOTION and event.candidate.number == self.adopting:
                return replace(self, adopting="")
            case CandidateRefused() if (event.source, event.number) == (CHAMPION_ALIAS_REQUEST_SOURCE, self.adopting):
                return replace(self, adopting="")
            case RolloutOpened() | EndDecided():  # the rollback that was chosen is under way
                rollbacks = {what for what, one in self.chosen.items() if one.reaction is DriftReaction.ROLLBACK}
                # The rollback has an incident of its own.
                others = {what: one for what, one in self.unreported.items() if what not in rollbacks}
                return replace(self, pending=self.pending - rollbacks, unreported=others)
            case _:
                return self

    def without(self, what: str) -> "DriftState":
        """The state once a difference is resolved: its reaction is over."""
        return replace(self, chosen=_without(self.chosen, what), pending=self.pending - {what})

    def _after_choice(self, event: DriftReactionChosen, at: float) -> "DriftState":
        acts = event.reaction is not DriftReaction.ALERT
        pending = self.pending | {event.what} if acts else self.pending - {event.what}
        state = replace(self, chosen={**self.chosen, event.what: event}, pending=pending)
        if event.reaction is DriftReaction.ROLLBACK:
            return replace(state, adopting="")
        if event.reaction is DriftReaction.ALERT:
            return state
        wanted = event.before if event.reaction is DriftReaction.ADOPT and event.before else ""
        return replace(state, set_back=(*self.set_back, at)[-_REMEMBERED:], adopting=wanted)


def _without(items: Mapping[str, _Value], name: str) -> dict[str, _Value]:
    return {key: value for key, value in items.items() if key != name}
