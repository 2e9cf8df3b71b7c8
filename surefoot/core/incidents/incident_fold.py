"""Fold each journal entry into the state of a model's incidents."""

from collections.abc import Iterable
from typing import get_args

from surefoot.core.domain import RolloutKind, Stage
from surefoot.core.incidents.incident_events import IncidentEvent
from surefoot.core.incidents.incident_state import IncidentState
from surefoot.core.journal.answering_versions import may_have_answered
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import Effect, EffectDone, EndDecided, Event, RolloutEnded, RolloutOpened
from surefoot.core.journal.served_version_events import CorrectionsWritten, ExposureListed
from surefoot.core.journal.watch_events import IncidentOpened
from surefoot.core.tables.data_events import DataEvent

_TAKES_BACK = frozenset({Stage.ABORTED, Stage.ROLLED_BACK})
"""Ends of a promotion by which callers no longer get answers of a version that was found, or may be, bad."""
_DATA_EVENTS = get_args(DataEvent)


def fold_incidents(
    state: IncidentState, event: Event, entry: Entry, opened: RolloutOpened | None, effects: Iterable[Effect]
) -> IncidentState:
    """The incidents after one more entry.

    Args:
        state: The incidents before it.
        event: What the entry says.
        entry: The entry.
        opened: How the open rollout was opened; None without one.
        effects: What that rollout has applied, or may have.
    """
    match event:
        case IncidentOpened():
            return state.after_opening(event, entry.seq, entry.at)
        case _ if isinstance(event, IncidentEvent):
            return state.after_event(event, entry.seq, entry.at, entry.actor)
        case RolloutOpened() if event.kind == RolloutKind.ROLLBACK:
            return state.after_decision(event.rollout, event.champion, entry.seq, entry.at)
        case EndDecided() if opened is not None and opened.kind == RolloutKind.PROMOTION:
            shown = may_have_answered(effects, opened)
            taken_back = shown and event.terminal_stage in _TAKES_BACK
            if not taken_back:
                return state
            return state.after_decision(event.rollout, opened.candidate, entry.seq, entry.at)
        case EffectDone() | RolloutEnded() | ExposureListed():
            return state.after_rollout_event(event.rollout, entry.seq)
        case CorrectionsWritten():
            return state.after_corrections(event.number, entry.seq)
        case _ if isinstance(event, _DATA_EVENTS):
            return state.after_rollout_event(getattr(event, "rollout", ""), entry.seq)
        case _:
            return state
