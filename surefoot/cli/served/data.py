"""Define the command `data`, which lists checkpoints of a model's tables and restores tables."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from surefoot import wiring
from surefoot.cli.access.permission import require_allowed_actor
from surefoot.cli.printing.console import console, format_utc_time, print_json, print_table
from surefoot.cli.read_only import JsonOption, ModelArgument
from surefoot.cli.shared.actor import current_actor
from surefoot.cli.shared.timeouts import REGISTRY_TIMEOUT_S
from surefoot.core.access.roles import Action
from surefoot.core.errors import DataUnavailable, NewerWrite, NotFound, Rejected, SurefootError
from surefoot.core.journal.events import as_json
from surefoot.core.journal.ledger import Ledger
from surefoot.core.tables.data_state import JournalledCheckpoint
from surefoot.core.tables.tables_to_restore import checkpoints_in_use
from surefoot.rollout import (
    Ports,
    describe_table_problems,
    leave_table_unrestored,
    list_pending_restores,
    restore_due_tables,
    retry_on_conflict,
    retry_table_restore,
)
from surefoot.settings import read_settings

_DEFAULT_REASON = "operator's decision"


def data(
    model: ModelArgument,
    restore: Annotated[str | None, typer.Option(help="Table whose refused restore is tried again.")] = None,
    leave: Annotated[str | None, typer.Option(help="Table that stays as it is, instead of being restored.")] = None,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why, for the record.")] = _DEFAULT_REASON,
    json_: JsonOption = False,
) -> int:
    """List the checkpoints of a model's tables and what waits to be restored; exits with 1 when something is wrong."""
    if restore and leave:
        raise Rejected("--restore and --leave contradict each other: nothing was done")
    config = read_settings()
    if restore or leave:
        require_allowed_actor(config, Action.RESTORE_TABLES, model)
    with wiring.open_ports(config, current_actor(), REGISTRY_TIMEOUT_S) as ports:
        if leave:
            retry_on_conflict(lambda: leave_table_unrestored(ports, model, leave, reason))
        if restore:
            _try_again(ports, model, restore, reason)
        ledger = ports.ledger(model)
        if not ledger.head:
            raise NotFound(f"the journal holds nothing of {model}")
    problems = describe_table_problems(ledger)
    if json_:
        print_json(
            {
                "model": model,
                "checkpoints": [_checkpoint_json(ledger, one) for one in ledger.data.checkpoints],
                "due": [as_json(one) for one in ledger.data.due.values()],
                "trouble": list(problems),
            }
        )
    else:
        _print(ledger, problems)
    return 1 if problems else 0


def _try_again(ports: Ports, model: str, name: str, reason: str) -> None:
    """Have a table restored, whether an earlier try was refused or has not come to its end.

    Raises:
        Rejected: It does not wait for a restore.
        NewerWrite: It was refused again.
    """
    due = ports.ledger(model).data.due.get(name)
    if due is None or due.refused:
        retry_on_conflict(lambda: retry_table_restore(ports, model, name, reason))
    again = restore_due_tables(ports, model).data.due.get(name)
    if again is not None:
        raise NewerWrite(f"table {name} was not restored: {again.refused}")


def _state(ledger: Ledger, kept: JournalledCheckpoint) -> str:
    """Where a checkpoint stands, in words."""
    due = ledger.data.due.get(kept.event.name)
    if due is not None and due.checkpoint == kept.seq:
        return "restore refused" if due.refused else "to be restored"
    if kept.restored_at is not None:
        return f"restored {format_utc_time(kept.restored_at)}"
    if kept.problem:
        return "cannot be restored"
    return "in use" if kept in checkpoints_in_use(ledger) else "not in use"


def _version(ledger: Ledger, kept: JournalledCheckpoint) -> str:
    """Number of the version that was served until the checkpoint."""
    return ledger.rollouts[kept.event.rollout].opened.champion.number


def _checkpoint_json(ledger: Ledger, kept: JournalledCheckpoint) -> dict[str, object]:
    return {
        "entry": kept.seq,
        "at": kept.at,
        "name": kept.event.name,
        "kind": kept.event.source["kind"],
        "on_rollback": kept.event.on_rollback,
        "version": _version(ledger, kept),
        "rollout": kept.event.rollout,
        **as_json(kept.event.checkpoint),
        "proved_at": kept.proved_at,
        "problem": kept.problem,
        "state": _state(ledger, kept),
    }


def _print(ledger: Ledger, problems: tuple[str, ...]) -> None:
    if not ledger.data.checkpoints:
        console.print(
            f"no table of {ledger.model} was checkpointed yet: a promotion does so, see 'data_layer' in its policy"
        )
    else:
        table = Table(title=f"Checkpoints of {ledger.model}")
        for column in ("table", "when", "version before", "rows", "digest", "proved", "on rollback", "state"):
            table.add_column(column)
        for kept in ledger.data.checkpoints:
            content = kept.event.checkpoint.content
            table.add_row(
                kept.event.name,
                format_utc_time(kept.at),
                _version(ledger, kept),
                f"{content.rows:,}",
                content.digest.removeprefix("sha256:")[:12],
                format_utc_time(kept.proved_at) if kept.proved_at is not None else "never",
                kept.event.on_rollback,
                _state(ledger, kept),
            )
        print_table(table)
    for line in problems:
        console.print(f"[magenta]{escape(line)}[/magenta]")


def restore_tables(ports: Ports, model: str) -> SurefootError | None:
    """Restore the tables that a rollback has left to be restored; the error of what is still left, or None.

    Whatever happens here, traffic has gone back already.
    """
    try:
        if list_pending_restores(ports.ledger(model)):
            restore_due_tables(ports, model)
        due = ports.ledger(model).data.due.values()
    except Exception as error:  # noqa: BLE001 - traffic is back: no trouble of a table may hide that
        return DataUnavailable(f"traffic is back, but a table waits to be restored, which 'reconcile' does: {error}")
    refused = [f"table {one.name} was not restored: {one.refused}" for one in due if one.refused]
    if not refused:
        return None
    return NewerWrite(f"traffic is back, but {'; '.join(refused)}; 'surefoot data {model}' shows what can be done")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(data)
