"""Track the checkpoints of output tables, and the restores that are due, from journal events."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from surefoot.core.tables.data_events import (
    DataCheckpointed,
    DataCheckpointRefused,
    DataCheckpointRequested,
    DataEvent,
    DataLeft,
    DataProved,
    DataRestored,
    DataRestoreRefused,
    DataRestoreRequested,
    DataRestoreRetried,
)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class JournalledCheckpoint:
    """A checkpoint that the journal knows of.

    Attributes:
        seq: Sequence of its entry.
        at: When it was made [Unix seconds].
        event: What was kept.
        proved_at: When it was last restored into a scratch copy; None when it never was [Unix seconds].
        tried_at: When that was last tried [Unix seconds].
        problem: Why the last try failed; empty when it did not.
        restored_at: When the table was last restored from it; None when it never was [Unix seconds].
    """

    seq: int
    at: float
    event: DataCheckpointed
    proved_at: float | None
    tried_at: float
    problem: str = ""
    restored_at: float | None = None


@dataclass(frozen=True, slots=True)
class DueRestore:
    """A table that a rollback has still to restore, or to leave as it is by its policy.

    Attributes:
        name: Name of the table in the policy.
        rollout: Id of the rollout that took the version back.
        checkpoint: Sequence of the entry of the checkpoint that it goes back to.
        versions: Numbers of the versions whose writes may be undone.
        on_rollback: What the policy wants: "restore", "leave" or "correct".
        requested: Sequence of the request to restore it; 0 before the first.
        refused: Why it was refused; empty when it was not.
    """

    name: str
    rollout: str
    checkpoint: int
    versions: tuple[str, ...]
    on_rollback: str
    requested: int = 0
    refused: str = ""


@dataclass(frozen=True, slots=True)
class DataState:
    """All that the journal says of a model's tables.

    Attributes:
        checkpoints: Every checkpoint, oldest first.
        requested: Sequence of the request of each checkpoint that is under way, by table.
        refused: Why a checkpoint was refused, by rollout and table.
        due: Tables that a rollback has still to settle, by name.
    """

    checkpoints: tuple[JournalledCheckpoint, ...] = ()
    requested: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[tuple[str, str], str] = field(default_factory=dict)
    due: Mapping[str, DueRestore] = field(default_factory=dict)

    def checkpoint(self, seq: int) -> JournalledCheckpoint:
        """The checkpoint of an entry; KeyError without one."""
        for one in self.checkpoints:
            if one.seq == seq:
                return one
        raise KeyError(seq)

    def rollout_checkpoint(self, rollout: str, name: str) -> JournalledCheckpoint | None:
        """The checkpoint that a rollout has made of a table; None before."""
        found = (one for one in self.checkpoints if (one.event.rollout, one.event.name) == (rollout, name))
        return next(found, None)

    def latest_checkpoints(self, rollouts: Iterable[str]) -> tuple[JournalledCheckpoint, ...]:
        """The last checkpoint that each of these rollouts has made of each table, oldest first.

        Args:
            rollouts: Ids of rollouts.
        """
        wanted = set(rollouts)
        return tuple(one for one in self.checkpoints if one.event.rollout in wanted)


def fold_data_event(state: DataState, event: DataEvent, seq: int, at: float) -> DataState:
    """The state after one more event of the data layer.

    Args:
        state: The state before.
        event: What happened.
        seq: Sequence of its entry.
        at: When [Unix seconds].
    """
    match event:
        case DataCheckpointRequested():
            return replace(state, requested={**state.requested, event.name: seq})
        case DataCheckpointed():
            kept = JournalledCheckpoint(seq, at, event, at if event.proved else None, at)
            # A later checkpoint is what counts from now on: an older one is not restored over it any more.
            return replace(
                state,
                checkpoints=(*state.checkpoints, kept),
                requested=_without(state.requested, event.name),
                due=_without(state.due, event.name),
            )
        case DataCheckpointRefused():
            refused = {**state.refused, (event.rollout, event.name): event.reason}
            return replace(state, refused=refused, requested=_without(state.requested, event.name))
        case DataProved():
            return _changed_checkpoint(
                state,
                event.checkpoint,
                lambda one: replace(
                    one, tried_at=at, problem=event.problem, proved_at=one.proved_at if event.problem else at
                ),
            )
        case DataRestored():
            due = state.due.get(event.name)
            if due is not None:
                state = _changed_checkpoint(state, due.checkpoint, lambda one: replace(one, restored_at=at))
            return replace(state, due=_without(state.due, event.name))
        case DataLeft():
            return replace(state, due=_without(state.due, event.name))
        case DataRestoreRequested() | DataRestoreRefused() | DataRestoreRetried():
            due = state.due.get(event.name)
            if due is None:
                return state
            return replace(state, due={**state.due, event.name: _after(due, event, seq)})


def _after(
    due: DueRestore, event: DataRestoreRequested | DataRestoreRefused | DataRestoreRetried, seq: int
) -> DueRestore:
    """A restore that is due, after one more event about it."""
    if isinstance(event, DataRestoreRequested):
        return replace(due, requested=seq, refused="")
    if isinstance(event, DataRestoreRefused):
        return replace(due, requested=0, refused=event.reason)
    return replace(due, requested=0, refused="")


def _changed_checkpoint(
    state: DataState, seq: int, change: Callable[[JournalledCheckpoint], JournalledCheckpoint]
) -> DataState:
    return replace(state, checkpoints=tuple(change(one) if one.seq == seq else one for one in state.checkpoints))


def _without(known: Mapping[str, _T], name: str) -> dict[str, _T]:
    return {key: one for key, one in known.items() if key != name}


def drop_unfinished_checkpoints(state: DataState) -> DataState:
    """The state after a rollout has ended: a checkpoint that was not finished before is none."""
    return replace(state, requested={})


def add_due_restores(
    state: DataState, rollout: str, checkpoints: Iterable[JournalledCheckpoint], versions: Iterable[str]
) -> DataState:
    """The state after a version was taken back: the tables of these checkpoints are to be restored or left.

    Args:
        state: The state before.
        rollout: Id of the rollout that took it back.
        checkpoints: The checkpoint that each table goes back to.
        versions: Numbers of the versions whose writes may be undone.
    """
    numbers = tuple(dict.fromkeys(versions))
    due = {
        one.event.name: DueRestore(one.event.name, rollout, one.seq, numbers, one.event.on_rollback)
        for one in checkpoints
    }
    return replace(state, due={**state.due, **due})
