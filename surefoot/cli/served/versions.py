"""Define the commands `versions` and `release`, which list a model's versions and end a quarantine."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from surefoot import wiring
from surefoot.cli.access.permission import open_allowed_ports
from surefoot.cli.printing.console import console, format_utc_time, print_json, print_table
from surefoot.cli.printing.journal_output import print_history
from surefoot.cli.read_only import JsonOption, ModelArgument
from surefoot.core.access.roles import Action
from surefoot.core.durations import format_duration
from surefoot.core.errors import EvidenceUnavailable, NotFound
from surefoot.core.journal.events import as_json
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.served_versions.quarantine import Quarantine
from surefoot.core.served_versions.service_summary import (
    ServiceSummary,
    quarantine_reason,
    quarantined_without_serving,
    service_summaries,
)
from surefoot.core.served_versions.version_checks import VersionChecks, latest_checks
from surefoot.rollout import release_version, retry_on_conflict
from surefoot.settings import read_settings

_HOUR_S = 3600.0
_NO_DRILL = "none yet"
"""What stands for the last drill of a version that had none."""


def versions(model: ModelArgument, json_: JsonOption = False) -> None:
    """Say how each version has served: hours at 100 %, requests, labels, score, last drill, where it stands and why."""
    config = read_settings()
    now = wiring.make_clock(config).now()
    with wiring.open_journal(config) as journal:
        entries = journal.read(model)
        known = journal.models()
    if not entries:
        raise NotFound(f"the journal holds nothing of {model}; known: {', '.join(known) or 'none'}")
    ledger = fold_entries(model, entries)
    trouble = ""
    try:
        latest = wiring.count_unjournalled_answers(config, ledger, now)
    except EvidenceUnavailable as error:
        latest = ()
        trouble = f"only what was journalled is counted: {error}"
    records = service_summaries(ledger, entries, now, latest)
    drills = latest_checks(model, entries)
    unserved = tuple(quarantined_without_serving(ledger, records).values())
    if json_:
        print_json(_versions_json(ledger, records, unserved, drills, trouble))
        return
    print_table(_versions_table(records, unserved, drills))
    if trouble:
        console.print(trouble, markup=False)


def _versions_json(
    ledger: Ledger,
    records: Sequence[ServiceSummary],
    unserved: Sequence[Quarantine],
    drills: Mapping[str, VersionChecks],
    trouble: str,
) -> dict[str, object]:
    """How each version has served, for a program."""
    target = ledger.target()
    return {
        "model": ledger.model,
        "rollback_target": target.number if target else None,
        "trouble": trouble,
        "versions": [_record_json(record, drills.get(record.version.number)) for record in records]
        + [
            {
                "version": held.version.number,
                "served": False,
                "standing": "quarantined",
                "reason": quarantine_reason(held),
            }
            for held in unserved
        ],
    }


def _record_json(record: ServiceSummary, drill: VersionChecks | None) -> dict[str, object]:
    counts = record.counts
    return {
        "digest": record.version.digest,
        "first_at": record.first_at,
        "hours_at_100": record.alone_s / _HOUR_S,
        "hours_shared": record.shared_s / _HOUR_S,
        "labels": counts.labels if counts else 0,
        "last_drill": None if drill is None else as_json(drill),
        "metric": counts.metric if counts and record.score is not None else None,
        "reason": record.reason,
        "requests": counts.requests if counts else 0,
        "score": record.score,
        "scored": counts.scored if counts else 0,
        "served": True,
        "standing": record.standing.value,
        "verdicts": {outcome.value: count for outcome, count in record.verdicts.items()},
        "version": record.version.number,
    }


def _versions_table(
    records: Sequence[ServiceSummary], unserved: Sequence[Quarantine], drills: Mapping[str, VersionChecks]
) -> Table:
    """How each version has served, for a person."""
    heads = ("version", "standing", "at 100 %", "requests", "labels", "score", "verdicts", "last drill", "why")
    table = Table(*heads, box=None, padding=(0, 2))
    for record in records:
        counts = record.counts
        score = "no label yet" if record.score is None or not counts else f"{counts.metric} {record.score:.4g}"
        table.add_row(
            record.version.number,
            record.standing.value,
            format_duration(record.alone_s) if record.alone_s else "never",
            f"{counts.requests if counts else 0:,}",
            f"{counts.labels if counts else 0:,}",
            score,
            ", ".join(f"{outcome} {count:,}" for outcome, count in record.verdicts.items()) or "none",
            _drill_text(drills.get(record.version.number)),
            escape(record.reason),
        )
    for held in unserved:
        why = escape(quarantine_reason(held))
        number = held.version.number
        table.add_row(
            number, "quarantined", "never", "0", "0", "no label yet", "", _drill_text(drills.get(number)), why
        )
    return table


def _drill_text(drill: VersionChecks | None) -> str:
    """When something of a version was tried last, what, and how that went."""
    if drill is None:
        return _NO_DRILL
    found = "; ".join(drill.problems) or f"{', '.join(drill.tried)} passed"
    return escape(f"{format_utc_time(drill.at)} UTC: {found}")


def release(
    model: ModelArgument,
    version: Annotated[str, typer.Argument(help="Quarantined version.")],
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why it may be tried again, for the record.")],
) -> None:
    """Lift the quarantine of a version that was turned away or taken back; it is not promoted by this."""
    with open_allowed_ports(Action.RELEASE, model) as ports:
        ledger = retry_on_conflict(lambda: release_version(ports, model, version, reason))
        print_history(ports.journal.read(model, after=ledger.head - 1), everything=False)
    console.print(f"version {version} of {model} may be promoted again", markup=False)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (versions, release):
        app.command()(command)
