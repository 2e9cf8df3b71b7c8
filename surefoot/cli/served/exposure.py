"""Define the commands `exposure` and `correct`, which list and rescore a bad version's answers."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import pyarrow.parquet
import typer
from rich.markup import escape
from rich.table import Table

from surefoot import exposure as exposures
from surefoot import wiring
from surefoot.adapters.served_answers.answer_comparison import AnswerComparison
from surefoot.cli.access.permission import require_allowed_actor
from surefoot.cli.printing.console import console, format_utc_time, print_json, print_table
from surefoot.cli.read_only import JsonOption, ModelArgument
from surefoot.cli.shared.actor import current_actor
from surefoot.cli.shared.timeouts import REGISTRY_TIMEOUT_S
from surefoot.core.access.roles import Action
from surefoot.core.errors import Rejected
from surefoot.settings import read_settings

_SHOWN_ROWS = 100
"""Most answers to one unit that are printed [count]; --out and --json give all."""
_ROWS_OF_ONE_UNIT = ("at", "request", "row", "phase", "version", "answer", "good_version", "good_answer", "unknown")


def exposure(
    model: ModelArgument,
    version: Annotated[str, typer.Option(help="Version that answered; the one taken back last without it.")] = "",
    rollout: Annotated[str, typer.Option(help="Id of a rollout, instead of a version.")] = "",
    unit: Annotated[str, typer.Option(help="Only what this one unit was answered.")] = "",
    score: Annotated[bool, typer.Option(help="Ask the good version what it would have said.")] = True,
    out: Annotated[Path | None, typer.Option(help="Write the Parquet file there.")] = None,
    json_: JsonOption = False,
) -> None:
    """List which requests, units and groups a version answered, with what, and what the good one would have said."""
    if version and rollout:
        raise Rejected("say --version or --rollout, not both")
    config = read_settings()
    with wiring.open_ports(config, current_actor(), REGISTRY_TIMEOUT_S) as ports:
        entries = ports.journal.read(model)
        found = exposures.specify_exposure_list(config, model, entries, number=version, rollout=rollout, unit=unit)
        if unit:
            with tempfile.TemporaryDirectory(prefix="surefoot-exposure-") as scratch:
                table, problems = exposures.write_exposure(
                    config, found, out or Path(scratch) / "unit.parquet", score=score
                )
                _tell(found, table, problems, json_=json_, rows=True, kept=out is not None)
            return
        table, problems = exposures.write_exposure(
            config, found, out or exposures.exposure_file(config, found), score=score
        )
        if out is None:
            exposures.journal_exposure(config, ports, found, table)
        _tell(found, table, problems, json_=json_, rows=False, kept=True)


def _tell(
    found: exposures.ExposureListSpec,
    table: AnswerComparison,
    problems: Mapping[str, str],
    *,
    json_: bool,
    rows: bool,
    kept: bool,
) -> None:
    """Print what was listed."""
    listed = pyarrow.parquet.read_table(table.file, columns=list(_ROWS_OF_ONE_UNIT)).to_pylist() if rows else []
    if json_:
        said = {"model": found.question.model, "version": found.version.number, "rollout": found.rollout}
        counts = _counts_json(table) | {"problems": dict(problems), "notes": list(found.notes)}
        print_json(said | counts | ({"answers": listed} if rows else {}) | ({} if kept else {"file": None}))
        return
    changed = "" if table.changed is None else f", {table.changed:,} of {table.known:,} otherwise than the good version"
    units = "" if table.units is None else f" to {table.units:,} unit{'' if table.units == 1 else 's'}"
    console.print(
        f"version {found.version.number} of {found.question.model} gave {table.rows:,} answers{units}{changed}"
    )
    _print_counts("served as", table.phases)
    _print_counts("unknown, because", table.unknown)
    _print_counts("group", table.groups)
    if rows:
        shown = Table(*_ROWS_OF_ONE_UNIT, box=None, padding=(0, 2))
        for row in listed[:_SHOWN_ROWS]:
            cells = [format_utc_time(row["at"]), *(row[name] for name in _ROWS_OF_ONE_UNIT[1:])]
            shown.add_row(*(escape("" if cell is None else str(cell)) for cell in cells))
        print_table(shown)
    notes = [f"version {number} was not asked: {why}" for number, why in problems.items()]
    if table.repeated:
        notes.append(f"{table.repeated:,} answers repeat the request id of an earlier one")
    for note in (*found.notes, *notes, *([f"written to {table.file}"] if kept else [])):
        console.print(note, markup=False)


def _print_counts(head: str, counts: Mapping[str, int]) -> None:
    if counts:
        shown = Table(head, "answers", box=None, padding=(0, 2))
        for name, count in counts.items():
            shown.add_row(escape(name), f"{count:,}")
        print_table(shown)


def _counts_json(table: AnswerComparison) -> dict[str, object]:
    return {
        "file": str(table.file),
        "digest": table.digest,
        "rows": table.rows,
        "units": table.units,
        "known": table.known,
        "changed": table.changed,
        "repeated": table.repeated,
        "phases": dict(table.phases),
        "unknown": dict(table.unknown),
        "groups": dict(table.groups),
    }


def correct(
    model: ModelArgument,
    version: Annotated[str, typer.Option(help="Version whose answers are corrected; the one taken back last.")] = "",
    json_: JsonOption = False,
) -> None:
    """Ask the proven-good version again about everything that a bad one answered, into a table for consumers."""
    config = read_settings()
    actor = require_allowed_actor(config, Action.MANAGE_INCIDENTS, model)
    with wiring.open_ports(config, actor, REGISTRY_TIMEOUT_S) as ports:
        done = exposures.correct_answers(config, ports, model, version)
    table = done.table
    if json_:
        counts = {name: value for name, value in _counts_json(table).items() if name not in {"groups", "phases"}}
        said = {"model": model, "version": done.version.number, "by": done.by.number, "already_written": not done.fresh}
        print_json(said | counts | {"notes": list(done.notes)})
        return
    console.print(
        f"version {done.by.number} corrects {table.known:,} of {table.rows:,} answers of version {done.version.number}"
        f" of {model}: {table.changed or 0:,} of them are others"
    )
    _print_counts("not corrected, because", table.unknown)
    for note in (
        *done.notes,
        f"{'written to' if done.fresh else 'already written, with the same bytes:'} {table.file}",
    ):
        console.print(note, markup=False)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (exposure, correct):
        app.command()(command)
