"""Define the command `record`, which logs what model versions predict for a table."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from surefoot import wiring
from surefoot.adapters.config.policy_folder import read_model_policy
from surefoot.adapters.predictions.recorded.records_file import VersionAnswers, write_records
from surefoot.adapters.predictions.recorded.table_requests import TableRow, read_table
from surefoot.adapters.replay.batch_scoring import CHUNK_ROWS, score_requests
from surefoot.adapters.replay.version_processes import VersionProcesses
from surefoot.cli.printing.console import console
from surefoot.cli.printing.progress_bar import replay_progress_bar
from surefoot.cli.read_only import ModelArgument
from surefoot.cli.shared.timeouts import REGISTRY_TIMEOUT_S
from surefoot.core.domain import Version
from surefoot.core.errors import NotFound, Rejected
from surefoot.core.policy.policy_types import Policy
from surefoot.settings import Settings, read_settings

_BOTH = 2
_NOT_TRIED = "not tried: too many rows before it had failed"


def record(
    model: ModelArgument,
    versions: Annotated[
        list[str], typer.Argument(help="Champion and candidate, for a back-test; the one that answered, with --log.")
    ],
    data: Annotated[Path, typer.Option(help="Parquet or CSV table of requests: column 'at', features, labels.")],
    out: Annotated[Path | None, typer.Option(help="Parquet file of records that 'backtest --log' reads.")] = None,
    log: Annotated[bool, typer.Option("--log", help="Append what the version answered to the prediction log.")] = False,
    answers: Annotated[
        str, typer.Option(help="With --log: column of the answers that were given; the version is asked without it.")
    ] = "",
) -> None:
    """Have versions score a table: records of both for a back-test, or what one answered into the prediction log."""
    if log == (out is not None):
        raise Rejected("say where the records go: --out FILE for a back-test, or --log for the prediction log")
    wanted = 1 if log else _BOTH
    if len(versions) != wanted or len(set(versions)) != wanted:
        what = "the one version that answered" if log else "two versions: the champion, then the candidate"
        raise Rejected(f"name {what}")
    if answers and not log:
        raise Rejected("--answers says what callers got: it goes with --log")
    config = read_settings()
    policy = _policy(config, model, needed=log)
    rows = read_table(data, policy.unit if policy else None, answers)
    registry = wiring.make_registry(config, REGISTRY_TIMEOUT_S)
    resolved = [registry.resolve(model, number) for number in versions]
    if out is not None:
        first, second = _ask_versions(config, model, resolved, rows)
        write_records(out, rows, first, second)
        console.print(f"{out}: {len(rows):,} requests, as versions {first.number} and {second.number} answer them")
        _tell_failures([first, second], len(rows))
        return
    given = _told(resolved[0], rows) if answers else _ask_versions(config, model, resolved, rows)[0]
    assert policy is not None  # noqa: S101 - needed above
    with wiring.open_journal(config) as journal:
        labels = wiring.log_answers(config, policy, journal.read(model), rows, given)
    console.print(f"{len(rows):,} requests that version {given.number} answered, and {labels:,} labels, are in the log")
    _tell_failures([given], len(rows))


def _policy(config: Settings, model: str, *, needed: bool) -> Policy | None:
    """The model's policy; None where there is none and none is needed.

    Raises:
        Rejected: It is wrong or missing, or its engine writes the log itself.
    """
    try:
        policy = read_model_policy(config.configs, model)[1]
    except NotFound:
        if needed:
            raise
        return None
    if needed and policy.traffic.engine_choice.abilities.logs_requests:
        raise Rejected(
            f"engine '{policy.traffic.engine}' of {model} writes the prediction log itself: --log is for the others"
        )
    return policy


def _told(version: Version, rows: Sequence[TableRow]) -> VersionAnswers:
    """What the file says that a version answered."""
    errors = {
        row.request.key: str(row.told.get("error") or "no answer")
        for row in rows
        if row.told.get("error") or row.request.prediction is None
    }
    answers = {row.request.key: row.request.prediction for row in rows if row.request.key not in errors}
    return VersionAnswers(version.number, answers, errors)


def _ask_versions(
    config: Settings, model: str, versions: Sequence[Version], rows: Sequence[TableRow]
) -> list[VersionAnswers]:
    """What each version answers, one after the other, each in a process of its own."""
    processes = wiring.make_version_processes(config)
    with replay_progress_bar(quiet=False) as shown:
        whole = len(rows) * len(versions)

        def tell(place: int, done: int) -> None:
            shown(place * len(rows) + done, whole)

        return [_ask(processes, model, version, rows, partial(tell, place)) for place, version in enumerate(versions)]


def _ask(
    processes: VersionProcesses, model: str, version: Version, rows: Sequence[TableRow], tell: Callable[[int], None]
) -> VersionAnswers:
    scorer = processes.start_scorer(model, version)
    answers: dict[tuple[str, int], object] = {}
    errors: dict[tuple[str, int], str] = {}
    try:
        for begin in range(0, len(rows), CHUNK_ROWS):
            asked = [row.request for row in rows[begin : begin + CHUNK_ROWS]]
            found = score_requests(scorer, asked)
            answers.update(found.answers)
            missing = [one.key for one in asked if one.key not in found.answers]
            errors.update(dict.fromkeys(missing, found.problem or _NOT_TRIED))
            tell(begin + len(asked))
    finally:
        scorer.close()
    return VersionAnswers(version.number, answers, errors)


def _tell_failures(sides: Sequence[VersionAnswers], rows: int) -> None:
    for side in sides:
        if side.errors:
            first = next(iter(side.errors.values()))
            console.print(
                f"version {side.number} has no answer to {len(side.errors):,} of {rows:,}: {first}", markup=False
            )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(record)
