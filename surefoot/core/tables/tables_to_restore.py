"""Find which output tables of a model a rollback must restore."""

from typing import TYPE_CHECKING

from surefoot.core.domain import PROMOTED_STAGES, RolloutKind, Stage, Version
from surefoot.core.journal.events import SetAlias, SetSplit
from surefoot.core.tables.data_state import (
    DataState,
    JournalledCheckpoint,
    add_due_restores,
    drop_unfinished_checkpoints,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from surefoot.core.journal.ledger import Ledger, Rollout


def table_state_after_rollout_end(
    data: DataState, rollouts: "Sequence[Rollout]", ended: "Rollout", terminal_stage: Stage
) -> DataState:
    """The state of the tables after the end of a rollout, with the restores that are now due.

    Args:
        data: The state before.
        rollouts: Every rollout, in order of opening.
        ended: The rollout that has ended, as it was before.
        terminal_stage: How it has ended.
    """
    opened, back = ended.opened, ended.rollback_target
    if opened.kind == RolloutKind.ROLLBACK:
        if terminal_stage is not Stage.FAST_ROLLED_BACK:
            return data
        checkpoints, versions = _since_replaced(data, rollouts, back)
        return add_due_restores(data, opened.rollout, checkpoints, versions)
    data, new = drop_unfinished_checkpoints(data), opened.candidate
    if terminal_stage in PROMOTED_STAGES:
        return data
    if back != opened.champion:  # the champion could not serve: what it wrote is taken back as well
        checkpoints, versions = _since_replaced(data, rollouts, back)
        return add_due_restores(data, opened.rollout, checkpoints, (*versions, new.number))
    promoted = (SetAlias("champion", new.number, opened.champion.number), SetSplit(new, None, 0.0))
    if not any(effect in promoted for effect in (*ended.done, *ended.refused)):
        return data  # it was never about to answer everything
    return add_due_restores(data, opened.rollout, data.latest_checkpoints([opened.rollout]), [new.number])


def _since_replaced(
    data: DataState, rollouts: "Sequence[Rollout]", target: Version
) -> tuple[tuple[JournalledCheckpoint, ...], tuple[str, ...]]:
    """The checkpoints of when a version was last replaced, and the versions that were promoted since."""
    promotions = [
        item for item in rollouts if item.opened.kind == RolloutKind.PROMOTION and item.stage in PROMOTED_STAGES
    ]
    replaced = [item for item in promotions if item.opened.champion.digest == target.digest]
    if not replaced:
        return (), ()
    since = promotions[promotions.index(replaced[-1]) :]
    return data.latest_checkpoints([replaced[-1].opened.rollout]), tuple(item.opened.candidate.number for item in since)


def checkpoints_in_use(ledger: "Ledger") -> tuple[JournalledCheckpoint, ...]:
    """The checkpoints that a rollback would restore if it began now."""
    if found := ledger.data.latest_checkpoints([ledger.open]):
        return found
    target = ledger.target()
    return _since_replaced(ledger.data, tuple(ledger.rollouts.values()), target)[0] if target is not None else ()
