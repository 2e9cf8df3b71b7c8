"""Format and print the output of all commands: tables, JSON, journal entries, status and plans."""

import datetime as dt
import getpass
import json
import math
import os
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from surefoot.core.domain import Split, Stage
from surefoot.core.durations import format_duration
from surefoot.core.operator_reason import clean_reason
from surefoot.core.policy.policy_types import LiveShadow, Policy, Shadow
from surefoot.core.policy.recovery.data_layer import DataSource, OnRollback
from surefoot.core.record.chain import Entry
from surefoot.core.record.event_sentences import describe_event
from surefoot.core.record.events import EffectIntended, as_json, decode_event
from surefoot.core.record.ledger import Ledger
from surefoot.core.served_versions.version_status import rollout_title

console = Console(highlight=False, soft_wrap=True)
REGISTRY_TIMEOUT_S = 5.0
"""How long a person waits for one answer of a registry that is down [seconds]."""
_WORD_COLOURS = {
    "Promoted": "green",
    "PASS": "green",
    "FAIL": "red",
    "Rejected": "red",
    "RolledBack": "red",
    "FastRolledBack": "red",
    "Aborted": "red",
    "INCONCLUSIVE": "yellow",
    "NO_DATA": "yellow",
    "ERROR": "magenta",
    "STALE": "yellow",
}


def current_actor() -> str:
    """Who types: the account's name, or its number where it has none, as in many containers."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid {os.getuid()}"
    return f"cli:{clean_reason(name).text}"


def format_utc_time(at: float) -> str:
    """A time for people, UTC."""
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")


def colour_outcome_words(text: str) -> str:
    """Escape a sentence and colour the words of outcomes and stages."""
    words = escape(text).split(" ")
    return " ".join(f"[{c}]{w}[/{c}]" if (c := _WORD_COLOURS.get(w.rstrip(":,;"))) else w for w in words)


def print_table(table: Table, narrowest: int = 160) -> None:
    """Print a table; where no person's window limits it, wide enough for whole sentences [characters]."""
    if console.is_terminal:
        console.print(table)
    else:
        Console(highlight=False, width=max(console.width, narrowest)).print(table)


def print_json(value: object) -> None:
    """Print JSON for a program."""
    print(json.dumps(value, indent=2, sort_keys=True))  # noqa: T201 - standard output is the interface


def _entry_line(entry: Entry) -> str:
    """One journal entry as one line."""
    said = " ".join(describe_event(decode_event(entry.kind, entry.data)).split())
    return f"{format_utc_time(entry.at)}  {entry.seq:>4}  {colour_outcome_words(said)}"


def print_history(entries: Sequence[Entry], *, everything: bool) -> None:
    """Print a journal; intents only on request, since each is followed by what became of it."""
    for entry in entries:
        if everything or not isinstance(decode_event(entry.kind, entry.data), EffectIntended):
            console.print(f"{_entry_line(entry)}  [dim]{escape(entry.actor)}[/dim]")


def entry_json(entry: Entry) -> dict[str, object]:
    """A journal entry as JSON."""
    return {
        "actor": entry.actor,
        "at": entry.at,
        "data": entry.data,
        "hash": entry.hash,
        "kind": entry.kind,
        "model": entry.model,
        "seq": entry.seq,
        "wall": entry.wall,
    }


def status_json(ledger: Ledger, live: Split | None, aliases: dict[str, str] | None) -> dict[str, object]:
    """The state of a model as JSON."""
    rollout = ledger.rollout
    return {
        "aliases": aliases,
        "champion": ledger.champion.number if ledger.champion else None,
        "head": ledger.head,
        "live": as_json(live) if live else None,
        "model": ledger.model,
        "proven_good": [version.number for version in ledger.proven],
        "rollout": None
        if rollout is None
        else {
            "candidate": rollout.opened.candidate.number,
            "id": rollout.opened.rollout,
            "kind": rollout.opened.kind,
            "paused": rollout.paused.reason if rollout.paused else None,
            "reason": rollout.reason,
            "since": rollout.entered_at,
            "stage": rollout.stage.value,
            "step": rollout.step,
            "stepped": as_json(rollout.opened.stepped) if rollout.opened.stepped else None,
            "title": rollout_title(rollout),
            "verdicts": {name: as_json(verdict) for name, verdict in rollout.verdicts.items()},
        },
    }


def print_status(ledger: Ledger, live: Split | None, trouble: Sequence[str]) -> None:
    """Print what is served, since when, why, and what is under way."""
    champion = ledger.champion.number if ledger.champion else "none yet"
    console.print(f"[bold]{ledger.model}[/bold]  champion {champion}")
    if live and live.candidate and live.weight:
        console.print(
            f"  served: version {live.champion.number}, and version {live.candidate.number} to {live.weight:g} %"
        )
    elif live and live.candidate and live.mirror:
        console.print(
            f"  served: version {live.champion.number} answers everything; {live.mirror:g} % of the requests are"
            f" mirrored to version {live.candidate.number}"
        )
    elif live:
        console.print(f"  served: version {live.champion.number} answers everything (generation {live.generation})")
    rollout = ledger.rollout
    if rollout is None:
        last = next(reversed(tuple(ledger.rollouts.values())), None)
        if last:
            console.print(colour_outcome_words(f"  last rollout: {rollout_title(last)}: {last.stage}: {last.reason}"))
    else:
        where = f"{rollout.stage}{' (paused)' if rollout.paused else ''} since {format_utc_time(rollout.entered_at)}"
        console.print(f"  rollout {ledger.open}, {rollout_title(rollout)}: {where}")
        if (plan := rollout.opened.stepped) and rollout.stage is Stage.RAMPING:
            console.print(f"  step {rollout.step + 1} of {len(plan.weights)}: {rollout.reason}", markup=False)
        table = Table("gate", "verdict", "n", "reason", box=None, padding=(0, 2))
        for name, verdict in rollout.verdicts.items():
            table.add_row(name, colour_outcome_words(verdict.outcome.value), f"{verdict.n:,}", escape(verdict.reason))
        console.print(table)
    for item in trouble:
        console.print(f"  [magenta]{escape(item)}[/magenta]")


def print_plan(policy: Policy, number: str, champion: str) -> None:
    """Print what a promotion would do, step by step."""
    console.print(f"[bold]{policy.model}[/bold]: version {number} against champion {champion}")
    window = f"the requests of the last {format_duration(policy.suite_window)}"
    lines = [f"validate {window} with suite {policy.suite}; {evaluation_frequency_text(0.0, policy.suite_every)}"]
    for step in policy.steps:
        gates = ", ".join(step.gates)
        if isinstance(step, Shadow):
            lines.append(
                f"replay the requests of the last {format_duration(step.window)}: {gates} must pass;"
                f" {evaluation_frequency_text(0.0, step.every)}"
            )
        elif isinstance(step, LiveShadow):
            most = f" and {step.min_requests:,} requests that both answer" if step.min_requests else ""
            expected = policy.requests_per_minute * step.share / 100.0 * step.hold / 60.0
            lines.append(
                f"mirror {step.share:g} % of the requests to version {number} for {format_duration(step.hold)}{most}:"
                f" {gates} must pass (about {format_request_count(expected)} requests; callers get the"
                f" champion's answers, and version {number} waits while the host is busy);"
                f" {evaluation_frequency_text(step.hold, step.every)}"
            )
        else:
            most = f" and {step.min_requests:,} requests" if step.min_requests else ""
            expected = policy.requests_per_minute * step.weight / 100.0 * step.hold / 60.0
            lines.append(
                f"{step.weight:g} % of the units for {format_duration(step.hold)}{most}: {gates} must pass"
                f" (about {format_request_count(expected)} requests to the candidate);"
                f" {evaluation_frequency_text(step.hold, step.every)}"
            )
    bake = policy.bake
    looks = evaluation_frequency_text(bake.hold, bake.every)
    lines += [_table_line(source) for source in policy.data_layer]
    lines += [
        f"alias previous -> {champion}, alias champion -> {number}, all traffic to {number}",
        f"bake for {format_duration(bake.hold)}: {', '.join(bake.gates)} roll back; {looks}",
    ]
    for index, line_ in enumerate(lines, start=1):
        console.print(f"  {index}. {line_}")


def _table_line(source: DataSource) -> str:
    """What becomes of a table."""
    if source.on_rollback is OnRollback.RESTORE:
        return f"checkpoint table {source.name}, and restore it into a scratch copy: a rollback restores it"
    return f"checkpoint table {source.name}: a rollback leaves it as it is ({source.on_rollback})"


def format_request_count(n: float) -> str:
    """A number of requests; below ten with the digits that count."""
    return f"{n:,.0f}" if n >= 10.0 or n == 0.0 else f"{n:.2g}"  # noqa: PLR2004 - two digits


def evaluation_frequency_text(lasts: float, every: float) -> str:
    """How often a stage looks, and how many looks that makes; a replay looks until it is decided."""
    if not lasts:
        return f"looks at once, then every {format_duration(every)} until it is decided"
    # A look that is due when the stage is over is not needed: it ends on what was seen until then.
    n = max(math.ceil(lasts / every - 1e-9), 1)
    return f"looks every {format_duration(every)}: {n:,} look{'' if n == 1 else 's'}"
