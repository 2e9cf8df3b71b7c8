"""Define the command `watch`, which compares a champion with its own past."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from surefoot import wiring
from surefoot.cli.printing.console import console, print_json
from surefoot.cli.printing.progress_bar import replay_progress_bar
from surefoot.cli.read_only import JsonOption, ModelArgument
from surefoot.cli.shared.actor import current_actor
from surefoot.core.champion_watch.early_signals import MIN_PAST_DAYS, SignalReading
from surefoot.core.domain import Outcome
from surefoot.core.errors import Rejected
from surefoot.core.journal.events import as_json
from surefoot.rollout import drive_rollout, evaluate_champion, find_watched_champion, read_champion_signals
from surefoot.settings import read_settings


def watch(
    model: ModelArgument,
    look: Annotated[bool, typer.Option("--look", help="Judge as the schedule does, journal and act on it.")] = False,
    json_: JsonOption = False,
) -> int:
    """Say how a champion does beside its own past, what would be an alarm, and what its last look found."""
    with (
        replay_progress_bar(quiet=json_) as report,
        wiring.open_ports(read_settings(), current_actor(), report=report) as ports,
    ):
        ledger = ports.ledger(model)
        watched = find_watched_champion(ledger)
        if watched is None or ledger.champion is None:
            why = f"rollout {ledger.open} is open" if ledger.open else "its policy had no 'watch' when it was promoted"
            raise Rejected(f"no champion of {model} is watched: {why}")
        champion = ledger.champion
        if look:
            ledger = evaluate_champion(ports, model)
            if ledger.open:
                ledger = drive_rollout(ports, model, until=lambda seen: not seen.open)
        readings = read_champion_signals(ports, model, watched, champion, ports.clock.now())
    worse = [one for one in ledger.watch.judged.values() if one.rollout == watched.rollout]
    if json_:
        print_json(
            {
                "model": model,
                "version": champion.number,
                "served": ledger.champion.number if ledger.champion else None,
                "signals": [{**as_json(one), "sentence": one.sentence} for one in readings],
                "against_proven_good": [as_json(one.verdict) for one in worse],
                "looked_at": ledger.watch.at or None,
                "early_alarms": {name: as_json(one) for name, one in ledger.watch.early.items()},
            }
        )
    else:
        console.print(f"champion {champion.number} of {escape(model)}, beside its own past", highlight=False)
        console.print(_table(readings))
        for name, history in ledger.watch.early.items():
            console.print(f"early alarms of {escape(name)}: {history.summary}", highlight=False)
        for one in worse:
            against = f"beside version {one.against.number}: {one.verdict.gate} {one.verdict.outcome}"
            console.print(f"{against}: {escape(one.verdict.reason)}", highlight=False)
        if ledger.champion and ledger.champion.number != champion.number:
            console.print(f"[red]taken back:[/red] version {ledger.champion.number} serves now")
    return 1 if any(one.outcome is Outcome.FAIL and not one.early for one in readings) else 0


def _table(readings: tuple[SignalReading, ...]) -> Table:
    table = Table("signal", "before", "now", "an alarm", "")
    for one in readings:
        if one.outcome is Outcome.NO_DATA:
            table.add_row(one.name, "", "", "", f"fewer than {MIN_PAST_DAYS} days")
            continue
        shown = [f"{value:.2%}" if one.is_share else f"{value:.3f}" for value in (one.usual, one.recent)]
        change = f"{100.0 * one.limit:.2f} points" if one.is_share else f"{one.limit:.3f}"
        limit = f"beyond {change}" if one.early else f"a change of {change}"
        alarm = "[yellow]early[/yellow]" if one.early else "[red]alarm[/red]"
        state = "[green]ok[/green]" if one.outcome is Outcome.PASS else alarm
        blind = one.limit >= 1.0 and one.is_share
        table.add_row(one.name, *shown, "none: it moves too much by itself" if blind else limit, state)
    return table


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(watch)
