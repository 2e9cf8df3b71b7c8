"""Define the command `observe`, which judges two versions from an existing log."""

import json
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from surefoot.adapters.config.policy_folder import read_model_policy
from surefoot.adapters.evidence_providers.source_reading import SourceReader
from surefoot.backtest import GateEvaluation
from surefoot.backtest.observation import Observation, observe_versions
from surefoot.backtest.observed_records import ObservedPair
from surefoot.backtest.run_backtest import list_rollout_milestones
from surefoot.cli.printing.backtest_output import evaluations_json, print_evaluations
from surefoot.cli.printing.console import colour_outcome_words, console, format_utc_time, print_json
from surefoot.cli.printing.journal_output import entry_json
from surefoot.cli.read_only import JsonOption, ModelArgument
from surefoot.core.durations import DAY_S
from surefoot.core.errors import Rejected, Unavailable
from surefoot.core.naming.model_names import model_file_name
from surefoot.settings import home_folder


def observe(
    model: ModelArgument,
    champion: Annotated[str, typer.Argument(help="Version that serves.")],
    candidate: Annotated[str, typer.Argument(help="Version on trial.")],
    weight: Annotated[
        float | None, typer.Option(min=0.1, max=99.0, help="Share of the candidate, in percent; counted without it.")
    ] = None,
    days: Annotated[float, typer.Option(min=0.001, help="How far back the sources are read.")] = 30.0,
    follow: Annotated[bool, typer.Option("--follow", help="Look again until the rollout would have ended.")] = False,
    interval: Annotated[float, typer.Option(min=1.0, help="With --follow: seconds between two looks.")] = 60.0,
    every: Annotated[bool, typer.Option("--every-look", help="Print every look, not only what changed.")] = False,
    project: Annotated[Path, typer.Option(help="Folder with configs/ and expectations/.")] = Path(),
    json_: JsonOption = False,
) -> int:
    """Judge two versions by your own log, as if Surefoot had routed them; no route, alias, tag or log is written."""
    if champion == candidate:
        raise Rejected("name two versions: the one that serves, then the one on trial")
    if follow and json_:
        raise Rejected("--json prints one observation: leave --follow out")
    value, policy = read_model_policy(project / "configs", model)
    if policy.evidence is None:
        raise Rejected(f"the policy of {model} has no section 'evidence', which names the log to observe")
    reader, pair = SourceReader(project, policy.evidence.timeout), ObservedPair(champion, candidate, weight)

    def look() -> Observation:
        now = time.time()
        made = observe_versions(value, policy, pair, reader, project, (now - days * DAY_S, now))
        _record(model, pair, made)
        return made

    found = look()
    if json_:
        print_json(_as_json(found))
        return 0
    _print_sources(found)
    _print_course(found, (), every=every)
    while follow and not found.result.stage.is_terminal:
        time.sleep(interval)
        before = found
        try:
            found = look()
        except Unavailable as error:  # a source that is down for a while does not end the observation
            console.print(f"[yellow]{format_utc_time(time.time())}  not looked: {escape(str(error))}[/yellow]")
            continue
        _print_course(found, before.result.looks, every=every)
    return 0


def _record(model: str, pair: ObservedPair, found: Observation) -> Path:
    """Keep the journal that a rollout would have written, each entry a line; it replaces that of the look before."""
    folder = home_folder() / "observations" / model_file_name(model)
    folder.mkdir(parents=True, exist_ok=True)
    names = "-".join(model_file_name(number) for number in (pair.champion, pair.candidate))
    file = folder / f"{names}.jsonl"
    draft = file.with_name(f".{file.name}-{secrets.token_hex(4)}")
    lines = (json.dumps(entry_json(entry)) for entry in found.result.journal)
    draft.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    draft.replace(file)
    return file


def _print_sources(found: Observation) -> None:
    seen, result = found.found, found.result
    versions = ", ".join(f"version {number}: {n:,}" for number, n in sorted(seen.versions.items()))
    how = " (counted)" if seen.measured else ""
    said = (
        f"{seen.records:,} rows ({versions}); the candidate is there since {format_utc_time(seen.since)} with"
        f" {seen.weight:g} percent{how}; {seen.paired:,} rows have both versions' answers"
    )
    console.print(f"{escape(result.model)}: {said}")
    for note in found.notes:
        console.print(f"[yellow]·[/yellow] {escape(note)}")
    for reason in seen.unusable.reasons(len(seen.unusable.counts)):
        console.print(f"[yellow]not used:[/yellow] {escape(reason)}")
    if seen.renamed:
        console.print(f"features left out, because fields have their names: {escape(', '.join(sorted(seen.renamed)))}")


def _print_course(found: Observation, known: Sequence[GateEvaluation], *, every: bool) -> None:
    """What is new since the looks that are known, and where the rollout would stand."""
    last = known[-1].at if known else float("-inf")
    looks = [one for one in found.result.looks if one.at > last]
    if looks:
        print_evaluations(looks, every=every)
        for at, what in list_rollout_milestones(found.result.journal):
            if at > last:
                console.print(f"{format_utc_time(at)}  {colour_outcome_words(what)}")
    result = found.result
    gate = f", by gate {escape(result.gate)}" if result.gate else ""
    console.print(
        f"as if routed by Surefoot, version {escape(result.candidate)} would be"
        f" {colour_outcome_words(result.stage.value)}{gate}: {colour_outcome_words(result.reason)}"
    )


def _as_json(found: Observation) -> dict[str, object]:
    result, seen = found.result, found.found
    return {
        "model": result.model,
        "champion": result.champion,
        "candidate": result.candidate,
        "rows": seen.records,
        "versions": dict(seen.versions),
        "paired": seen.paired,
        "weight": seen.weight,
        "opened": result.opened,
        "ended": result.ended,
        "stage": result.stage.value,
        "gate": result.gate,
        "reason": result.reason,
        "notes": list(found.notes),
        "unusable": dict(seen.unusable.counts),
        "looks": evaluations_json(result.looks),
    }


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(observe)
