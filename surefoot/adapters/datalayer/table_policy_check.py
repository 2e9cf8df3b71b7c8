"""Check that a policy's output tables can be restored after a rollback."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from surefoot.core.durations import format_duration
from surefoot.core.errors import DataUnavailable, NotFound, Rejected
from surefoot.core.policy.policy_types import Policy
from surefoot.core.policy.recovery.data_layer import DeltaSource, OnRollback, ParquetSource, SqlSource


@dataclass(frozen=True, slots=True)
class TableCheckReport:
    """What was found about the tables of a policy.

    Attributes:
        problems: What makes the policy wrong, one line each, with the index of its table.
        notes: What its owner should know, one line each.
    """

    problems: tuple[tuple[int, str], ...] = ()
    notes: tuple[str, ...] = ()


def check_tables(policy: Policy, project: Path, environment: Mapping[str, str] | None = None) -> TableCheckReport:
    """Check every table that a policy names, as far as this host can see it.

    Args:
        policy: The policy.
        project: Folder in which relative paths begin.
        environment: Where the URLs of databases are; that of this process without it.
    """
    known = os.environ if environment is None else environment
    problems: list[tuple[int, str]] = []
    notes: list[str] = []
    for index, source in enumerate(policy.data_layer):
        if isinstance(source, DeltaSource):
            if find_spec("deltalake") is None:
                notes.append(f"table {source.name} needs deltalake: pip install 'surefoot[delta]'")
            try:
                problems += ((index, line) for line in _of_delta(source, project, _watched(policy)))
            except (NotFound, DataUnavailable):
                notes.append(f"table {source.name} is not on this host: its retention was not checked")
            except Rejected as error:
                problems.append((index, f"table {source.name}: {error}"))
            if source.consumers and source.on_rollback is OnRollback.RESTORE:
                notes.append(
                    f"a restore of table {source.name} counts as new data for its consumers"
                    f" ({', '.join(source.consumers)}): 'on_rollback: correct' changes nothing for them"
                )
        elif isinstance(source, ParquetSource) and not (project / source.path).is_dir():
            notes.append(f"the folder of table {source.name} is not on this host")
        elif isinstance(source, SqlSource) and source.url_variable not in known:
            notes.append(f"environment variable {source.url_variable} of table {source.name} is not set here")
    return TableCheckReport(tuple(problems), tuple(notes))


def _watched(policy: Policy) -> float:
    """How long a rollback may come after a checkpoint at least: the ramp and the bake [seconds]."""
    return sum(step.hold for step in policy.ramp) + policy.bake.hold


def _of_delta(source: DeltaSource, project: Path, watched: float) -> Iterator[str]:
    """What VACUUM would do to a table before its rollback could come."""
    from surefoot.adapters.datalayer.delta_log import DeltaLog  # noqa: PLC0415 - most policies have no such table

    if source.on_rollback is not OnRollback.RESTORE:
        return
    log = DeltaLog(project / source.path)
    kept = log.version(log.head()).retention
    if kept < watched:
        yield (
            f"table {source.name} could be vacuumed before it is restored: delta.deletedFileRetentionDuration is"
            f" {format_duration(kept)}, ramp and bake take {format_duration(watched)}: set it to 'interval"
            f" {max(1, -int(-watched // 86400))} days' or more"
        )
