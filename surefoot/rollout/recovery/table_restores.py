"""Checkpoint a model's tables, check the checkpoints, and restore the tables after a rollback.

Traffic and registry never wait for any of this: what is due after a rollback is folded from the journal when the
rollback has ended, and each run that finds it due takes it up where the last one stopped.
"""

from surefoot.core.errors import (
    Conflict,
    NotFound,
    Rejected,
    StaleLedger,
    SurefootError,
    TableNotReachable,
    Tampered,
    TransitionIllegal,
)
from surefoot.core.journal.ledger import Ledger
from surefoot.core.operator_reason import clean_reason
from surefoot.core.policy.recovery.data_layer import DataSource, OnRollback, data_source_to_json, parse_data_source
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
from surefoot.core.tables.data_state import DueRestore, JournalledCheckpoint
from surefoot.core.tables.tables_to_restore import checkpoints_in_use
from surefoot.rollout.ports import Ports

CHECKPOINT_CHECK_INTERVAL_S = 86400.0
"""Time between two proofs that a checkpoint can be restored [seconds]."""
_CONFLICT_RETRIES = 50
"""How often an append is repeated that lost against another process [count]."""


def checkpoint_table(ports: Ports, ledger: Ledger, source: DataSource) -> Ledger:
    """Checkpoint a table's content before the candidate is promoted, and test that it can be restored.

    Raises:
        Unavailable: The table does not answer.
        Conflict: Another process has appended to the journal.
    """
    if source.name in ledger.data.due:
        # The table waits for its restore: a checkpoint of now would keep what the version before has broken.
        ledger = _settle_table(ports, ledger, ledger.data.due[source.name])
    intent = ledger.data.requested.get(source.name, 0)
    if not intent:
        ledger = ports.append(ledger, DataCheckpointRequested(ledger.open, source.name))
        intent = ledger.head
    needed = source.on_rollback is OnRollback.RESTORE
    try:
        checkpoint = ports.tables.checkpoint(ledger.model, source)
        if needed:
            ports.tables.verify_restorable(ledger.model, source, checkpoint)
    except (Rejected, Conflict, Tampered) as error:
        return ports.append(ledger, DataCheckpointRefused(ledger.open, source.name, intent, _line(error)))
    kept = DataCheckpointed(
        rollout=ledger.open,
        name=source.name,
        intent=intent,
        source=data_source_to_json(source),
        on_rollback=source.on_rollback,
        checkpoint=checkpoint,
        proved=needed,
    )
    return ports.append(ledger, kept)


def list_pending_restores(ledger: Ledger) -> tuple[DueRestore, ...]:
    """Tables that a rollback has still to settle and that were not refused."""
    return tuple(due for due in ledger.data.due.values() if not due.refused)


def restore_due_tables(ports: Ports, model: str) -> Ledger:
    """Restore or leave every table that a rollback has still to settle, as its policy says.

    Raises:
        SurefootError: A table does not answer; the others were settled, and the next call takes it up again.
    """
    ledger = ports.ledger(model)
    problem: SurefootError | None = None
    for due in list_pending_restores(ledger):
        try:
            ledger = _settle_table(ports, ledger, due)
        except SurefootError as error:  # one table's trouble must not keep the others
            problem, ledger = problem or error, ports.ledger(model)
    if problem:
        raise problem
    return ledger


def _settle_table(ports: Ports, ledger: Ledger, due: DueRestore) -> Ledger:
    """Restore or leave one table; look, apply, journal."""
    if due.refused or ledger.data.due.get(due.name) != due:
        return ledger
    if due.on_rollback != OnRollback.RESTORE:
        reason = "the policy says so"
        return _append(ports, ledger, due, DataLeft(due.rollout, due.name, due.on_rollback, reason))
    if not due.requested:
        ledger = _append(ports, ledger, due, DataRestoreRequested(due.rollout, due.name, due.checkpoint))
        asked = ledger.data.due.get(due.name)
        if asked is None or not asked.requested:
            return ledger  # another process has settled it
        due = asked
    kept = ledger.data.checkpoint(due.checkpoint)
    name = f"{ledger.model}/{due.requested}"
    try:
        done = ports.tables.restore(ledger.model, _source(kept), kept.event.checkpoint, due.versions, name)
    except TableNotReachable:
        raise  # that is no word about the table: `reconcile` may have what this process has not
    except (Rejected, Conflict, Tampered) as error:
        refused = DataRestoreRefused(due.rollout, due.name, due.requested, _line(error))
        return _append(ports, ledger, due, refused)
    restored = DataRestored(due.rollout, due.name, due.requested, done.before, done.after, done.already)
    return _append(ports, ledger, due, restored)


def _append(ports: Ports, ledger: Ledger, due: DueRestore, event: DataEvent) -> Ledger:
    """Append an event about a table that is due, unless another process has settled it meanwhile.

    Rollouts go on while a table is restored: that they have appended is no reason to restore it once more.
    """
    for _ in range(_CONFLICT_RETRIES):
        if ledger.data.due.get(due.name) != due:
            return ledger
        try:
            return ports.append(ledger, event)
        except StaleLedger:
            ledger = ports.ledger(ledger.model)
    return ports.append(ledger, event)


def checkpoints_to_check(ledger: Ledger, now: float) -> tuple[JournalledCheckpoint, ...]:
    """Checkpoints in use that were not tried for a day, and whose table has nothing else to settle.

    Args:
        ledger: The model's ledger.
        now: Time [Unix seconds].
    """
    return tuple(
        one
        for one in checkpoints_in_use(ledger)
        if one.event.on_rollback == OnRollback.RESTORE
        and now - one.tried_at >= CHECKPOINT_CHECK_INTERVAL_S
        and one.event.name not in ledger.data.due
    )


def check_due_checkpoints(ports: Ports, model: str) -> Ledger:
    """Restore every checkpoint that is due for it into a scratch copy, and journal whether that worked.

    Raises:
        Unavailable: A table does not answer.
        TableNotReachable: This process cannot reach a table.
        Conflict: Another process has appended to the journal.
    """
    ledger = ports.ledger(model)
    for kept in checkpoints_to_check(ledger, ports.clock.now()):
        problem = ""
        try:
            ports.tables.verify_restorable(model, _source(kept), kept.event.checkpoint)
        except TableNotReachable:
            raise  # as in a restore
        except (Rejected, Conflict, Tampered) as error:
            problem = _line(error)
        ledger = ports.append(ledger, DataProved(kept.event.name, kept.seq, problem))
    return ledger


def leave_table_unrestored(ports: Ports, model: str, name: str, reason: str) -> Ledger:
    """Settle a table as it is: a person has decided that it is not restored.

    Raises:
        Rejected: Nothing is due for a table of this name.
    """
    ledger = ports.ledger(model)
    due = _due(ledger, name)
    return ports.append(ledger, DataLeft(due.rollout, name, due.on_rollback, clean_reason(reason).text))


def retry_table_restore(ports: Ports, model: str, name: str, reason: str) -> Ledger:
    """Request a retry of a table's restore that was refused.

    Raises:
        Rejected: Nothing is due for a table of this name, or it was not refused.
    """
    ledger = ports.ledger(model)
    due = _due(ledger, name)
    if not due.refused:
        raise TransitionIllegal(f"the restore of table {name} of {model} was not refused: 'reconcile' carries it out")
    return ports.append(ledger, DataRestoreRetried(due.rollout, name, clean_reason(reason).text))


def describe_table_problems(ledger: Ledger) -> tuple[str, ...]:
    """What is wrong with the tables of a model, one line each."""
    name = ledger.model
    found = [
        f"table {due.name} was not restored: {due.refused}; 'surefoot data {name} --restore {due.name}' tries again,"
        f" '--leave {due.name}' keeps it as it is"
        if due.refused
        else f"table {due.name} is still to be restored: 'reconcile' does it"
        for due in ledger.data.due.values()
    ]
    found += [
        f"table {kept.event.name} could not be restored on a rollback: {kept.problem}"
        for kept in checkpoints_in_use(ledger)
        if kept.problem and kept.event.name not in ledger.data.due
    ]
    return tuple(found)


def _due(ledger: Ledger, name: str) -> DueRestore:
    if name not in ledger.data.due:
        known = ", ".join(ledger.data.due) or "none"
        raise NotFound(f"no table '{name}' of {ledger.model} waits for a restore; waiting: {known}")
    return ledger.data.due[name]


def _source(kept: JournalledCheckpoint) -> DataSource:
    return parse_data_source(dict(kept.event.source))


def _line(error: SurefootError) -> str:
    """What an error says, as the journal keeps it."""
    return clean_reason(str(error)).text
