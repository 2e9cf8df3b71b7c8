"""Define the command `backtest`, which replays recorded traffic through a policy."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from surefoot.adapters.config.policy_file import read_policy
from surefoot.adapters.config.policy_folder import find_policy_file
from surefoot.adapters.predictions.recorded.recorded_requests import RecordedRequests
from surefoot.backtest import BacktestResult, backtest
from surefoot.backtest.run_backtest import list_rollout_milestones
from surefoot.backtest.suite_runner import file_digest, make_suite_runner
from surefoot.cli.printing.backtest_output import evaluations_json, print_evaluations, print_incident_case_backtest
from surefoot.cli.printing.console import colour_outcome_words, console, format_utc_time, print_json, print_table
from surefoot.core.durations import format_duration
from surefoot.core.errors import NotFound, Rejected
from surefoot.core.journal.events import GateJudged, decode_event

_DAY_S = 86400.0


def backtest_command(
    model: Annotated[str, typer.Argument(help="Registered model.")],
    log: Annotated[Path | None, typer.Option(help="Parquet file of records (docs/record-schema.md).")] = None,
    labels: Annotated[Path | None, typer.Option(help="Parquet file of labels that came separately.")] = None,
    policy: Annotated[Path | None, typer.Option(help="Policy file; configs/MODEL.yaml without it.")] = None,
    rollouts: Annotated[Path | None, typer.Option(help="Folder of many record files and a truth.json.")] = None,
    case: Annotated[Path | None, typer.Option(help="Folder of an incident's regression case.")] = None,
    against_itself: Annotated[
        int, typer.Option(min=0, max=1000, help="With --case: rollouts of the good version against itself instead.")
    ] = 0,
    project: Annotated[Path, typer.Option(help="Folder with configs/ and expectations/.")] = Path(),
    seed: Annotated[str, typer.Option(help="Decides who is in which arm.")] = "",
    every: Annotated[bool, typer.Option("--every-look", help="Print every look, not only what changed.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Write a picture of how the evidence went, as PNG.")] = None,
    as_json_: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> int:
    """Replay recorded requests of both versions through the whole policy, exactly as live."""
    if sum(one is not None for one in (log, rollouts, case)) != 1:
        raise Rejected("say what to replay: --log FILE for one rollout, --rollouts DIR for many, or --case DIR")
    file = policy or find_policy_file(project / "configs", model)
    if case is not None:
        return print_incident_case_backtest(case, model, file, against_itself, every=every, as_json_=as_json_)
    value, read_ = read_policy(file)
    if read_.model != model:
        raise Rejected(f"{file} is the policy of {read_.model}, not of {model}")
    suite = project / "expectations" / f"{read_.suite}.json"
    if not suite.is_file():
        raise NotFound(f"policy {model} names suite '{read_.suite}', but there is no {suite}")

    def one(path: Path) -> BacktestResult:
        records = RecordedRequests(path, labels)
        try:
            with Progress(
                TextColumn(path.name),
                BarColumn(),
                TextColumn("{task.fields[day]}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
                disable=not sys.stderr.isatty(),
            ) as bar:
                task = bar.add_task("", day="")

                def show_progress(done: float, whole: float) -> None:
                    bar.update(
                        task, completed=done, total=whole, day=f"day {done / _DAY_S:.0f} of {whole / _DAY_S:.0f}"
                    )

                return backtest(
                    records,
                    value,
                    make_suite_runner(suite),
                    suite=file_digest(suite),
                    secret=seed,
                    on_progress=show_progress,
                )
        finally:
            records.close()

    if rollouts is not None:
        return _many(rollouts, one, as_json=as_json_)
    assert log is not None  # noqa: S101 - one of the two was asked for above
    found = one(log)
    if plot is not None:
        plot.write_bytes(_write_chart_png(found))
    if as_json_:
        print_json(_result_json(found))
    else:
        _print_result(found, every=every)
    return 0


def _write_chart_png(found: BacktestResult) -> bytes:
    """The course of a back-test, as PNG."""
    from surefoot.reports.evidence_over_time import draw_evidence_over_time_png  # noqa: PLC0415 - Matplotlib costs half a second

    judged = [(entry.at, decode_event(entry.kind, entry.data)) for entry in found.journal]
    looks = [(at, event) for at, event in judged if isinstance(event, GateJudged)]
    return draw_evidence_over_time_png(
        looks, f"{found.model}: version {found.candidate} against {found.champion}, {found.stage}"
    )


def _result_json(found: BacktestResult) -> dict[str, object]:
    """Everything that a back-test showed, as JSON values."""
    return {
        "model": found.model,
        "champion": found.champion,
        "candidate": found.candidate,
        "opened": found.opened,
        "ended": found.ended,
        "stage": found.stage.value,
        "promoted": found.promoted,
        "gate": found.gate,
        "reason": found.reason,
        "requests": found.requests,
        "looks": evaluations_json(found.looks),
    }


def _print_result(found: BacktestResult, *, every: bool) -> None:
    """The looks as a table, the turns as lines, and how it ended."""
    print_evaluations(found.looks, every=every)
    for at, what in list_rollout_milestones(found.journal):
        console.print(f"{format_utc_time(at)}  {colour_outcome_words(what)}")
    took = format_duration(found.ended - found.opened)
    console.print(
        f"version {found.candidate} against {found.champion}: {colour_outcome_words(found.stage.value)} after {took}"
        f" and {len(found.looks):,} verdicts{f', stopped by {found.gate}' if found.gate else ''}:"
        f" {colour_outcome_words(found.reason)}"
    )


def _many(folder: Path, one: Callable[[Path], BacktestResult], *, as_json: bool) -> int:
    """How often a policy was wrong over many past rollouts whose truth is known."""
    files = sorted(folder.glob("*.parquet"))
    truth_file = folder / "truth.json"
    if not files or not truth_file.is_file():
        raise NotFound(f'{folder} needs record files (*.parquet) and a truth.json such as {{"NAME": "good"}}')
    truth = _truth(truth_file)
    if strange := [file.stem for file in files if truth.get(file.stem) not in ("good", "bad")]:
        raise Rejected(f"{truth_file} does not say whether {strange[0]} was good or bad")
    rows, wrong = [], {"false rollback": 0, "miss": 0}
    for file in files:
        found = one(file)
        stopped = found.gate != "" and not found.promoted
        verdict = "as it should"
        if truth[file.stem] == "good" and stopped and found.stage.is_terminal:
            verdict = "false rollback"
        elif truth[file.stem] == "bad" and found.promoted:
            verdict = "miss"
        if verdict in wrong:
            wrong[verdict] += 1
        rows.append({"name": file.stem, "truth": truth[file.stem], "said": verdict, **_result_json(found)})
    if as_json:
        print_json({"rollouts": [{k: v for k, v in row.items() if k != "looks"} for row in rows], **wrong})
        return 0
    table = Table("rollout", "truth", "ended", "gate", "said", "reason", box=None, padding=(0, 1))
    for row in rows:
        table.add_row(
            *(colour_outcome_words(str(row[key])) for key in ("name", "truth", "stage", "gate", "said", "reason"))
        )
    print_table(table)
    good = sum(row["truth"] == "good" for row in rows)
    console.print(
        f"false rollbacks: {wrong['false rollback']} of {good} good rollouts; misses: {wrong['miss']} of"
        f" {len(rows) - good} bad ones"
    )
    return 0


def _truth(file: Path) -> dict[str, object]:
    """What is known of every rollout, by the name of its file."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Rejected(f"{file} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise Rejected(f'{file} must be an object such as {{"NAME": "good", "OTHER": "bad"}}')
    return found


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="backtest")(backtest_command)
