"""Print which versions of a model are served and which rollout is open, or convert this status to JSON."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from surefoot.cli.printing.console import colour_outcome_words, console, format_utc_time
from surefoot.core.assignment import describe_candidate_share
from surefoot.core.domain import Split, Stage
from surefoot.core.journal.events import as_json
from surefoot.core.journal.ledger import Ledger
from surefoot.core.served_versions.version_status import rollout_title


def status_json(ledger: Ledger, live: Split | None, aliases: dict[str, str] | None) -> dict[str, object]:
    """The state of a model as JSON."""
    rollout = ledger.rollout
    return {
        "aliases": aliases,
        "champion": ledger.champion.number if ledger.champion else None,
        "freezes": [as_json(one) for one in ledger.freezes.in_force(ledger.now)],
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
            "since": rollout.since,
            "held": rollout.held.reason if rollout.held else None,
            "approvals": list(rollout.approvals.people()),
            "denials": [one.signed.person for one in rollout.approvals.denied],
            "refused_approvals": rollout.approvals.refused,
            "ticket": rollout.opened.ticket,
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
    console.print(f"[bold]{escape(ledger.model)}[/bold]  champion {champion}")
    if live and live.candidate and live.weight:
        share = describe_candidate_share(live.weight, live.units)
        console.print(f"  served: version {live.champion.number}, and version {live.candidate.number} to {share}")
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
        where = f"{rollout.stage}{' (paused)' if rollout.paused else ''} since {format_utc_time(rollout.since)}"
        console.print(f"  rollout {ledger.open}, {rollout_title(rollout)}: {where}")
        if (plan := rollout.opened.stepped) and rollout.stage is Stage.RAMPING:
            console.print(f"  step {rollout.step + 1} of {len(plan.weights)}: {rollout.reason}", markup=False)
        table = Table("gate", "verdict", "n", "reason", box=None, padding=(0, 2))
        for name, verdict in rollout.verdicts.items():
            table.add_row(name, colour_outcome_words(verdict.outcome.value), f"{verdict.n:,}", escape(verdict.reason))
        console.print(table)
    for item in trouble:
        console.print(f"  [magenta]{escape(item)}[/magenta]")
