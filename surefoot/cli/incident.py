"""Define the `incident` commands, which list, explain, annotate and close incidents."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from surefoot import wiring
from surefoot.cli.access.permission import require_allowed_actor
from surefoot.cli.printing.console import colour_outcome_words, console, format_utc_time, print_json, print_table
from surefoot.cli.read_only import JsonOption
from surefoot.cli.served import incident_review
from surefoot.cli.shared.actor import current_actor
from surefoot.cli.shared.timeouts import REGISTRY_TIMEOUT_S
from surefoot.core.access.roles import Action
from surefoot.core.durations import format_duration
from surefoot.core.errors import NotFound
from surefoot.core.incidents.incident_events import IncidentClosed, IncidentNoted, NoteKind
from surefoot.core.incidents.incident_report import IncidentReport
from surefoot.core.incidents.incident_state import Incident
from surefoot.core.incidents.incident_statistics import compute_incident_statistics
from surefoot.core.journal.events import as_json
from surefoot.core.journal.ledger import fold_entries
from surefoot.core.ports import Journal
from surefoot.core.served_versions.finished_drills import TimedDrill, finished_drills
from surefoot.core.triage.triage import Cause
from surefoot.incidents import incident_reports as reports
from surefoot.reports.incident_page import render_headline, render_incident_markdown
from surefoot.reports.message_templates import render_message_draft
from surefoot.rollout import add_incident_note, close_incident, lift_evidence_hold
from surefoot.settings import Settings, read_settings

_IncidentArgument = Annotated[str, typer.Argument(help="Id of the incident, or how it begins.")]
_LatestArgument = Annotated[str, typer.Argument(help="Id of the incident, or how it begins; the latest without it.")]
_ReasonArgument = Annotated[str, typer.Argument(help="Why.")]
_app = typer.Typer(no_args_is_help=True, help="List, show, note and close incidents: each rollback has one.")


@dataclass(frozen=True, slots=True)
class _Found:
    """An incident and the model that it is of."""

    model: str
    incident: Incident


def _all_incidents(journal: Journal) -> Iterator[_Found]:
    """Every incident of every model, oldest first."""
    found = [
        _Found(model, incident)
        for model in journal.models()
        for incident in fold_entries(model, journal.read(model)).incidents.known.values()
    ]
    yield from sorted(found, key=lambda one: one.incident.at)


def _find(journal: Journal, begins: str) -> _Found:
    """The incident whose id begins so, of any model; the latest one without it.

    Raises:
        NotFound: There is none, or more than one.
    """
    known = list(_all_incidents(journal))
    found = [one for one in known if one.incident.name.startswith(begins)]
    if not found or (begins and len(found) > 1):
        names = ", ".join(one.incident.name for one in (found or known)) or "none"
        said = "there is no incident" if not begins else f"{begins} names {len(found) or 'no'} incident"
        raise NotFound(f"{said}{'s' if len(found) > 1 else ''}; known: {names}")
    return found[-1]


@_app.command("list")
def list_incidents(
    model: Annotated[str, typer.Option(help="Only of this registered model.")] = "",
    still_open: Annotated[bool, typer.Option("--open", help="Only those that no person has closed.")] = False,
    json_: JsonOption = False,
) -> None:
    """List incidents: what they are about, how long it took to detect and to restore, and whether they are closed."""
    with wiring.open_journal(read_settings()) as journal:
        found = [
            one
            for one in _all_incidents(journal)
            if (not model or one.model == model) and not (still_open and one.incident.closed)
        ]
    if json_:
        print_json({"incidents": [_incident_json(one) for one in found]})
        return
    if not found:
        console.print("no incident" + (f" of {escape(model)}" if model else ""))
        return
    table = Table(
        "incident", "model", "version", "opened (UTC)", "state", "to detect", "to restore", "requests", "why",
        box=None, padding=(0, 2),
    )  # fmt: skip
    for one in found:
        told = one.incident.reported
        table.add_row(
            one.incident.name,
            escape(one.model),
            one.incident.version.number,
            format_utc_time(one.incident.at),
            _state(one.incident),
            _duration(told.time_to_detect if told else None),
            _duration(told.time_to_restore if told else None),
            "not listed yet" if told is None or told.requests is None else f"{told.requests:,}",
            escape(one.incident.opened.reason),
        )
    print_table(table)


@_app.command()
def stats(
    model: Annotated[str, typer.Option(help="Only of this registered model.")] = "",
    plot: Annotated[Path | None, typer.Option(help="Draw the times of all incidents into this PNG file.")] = None,
    json_: JsonOption = False,
) -> None:
    """Say how often versions were taken back, how fast, how often by mistake, and how often that was rehearsed."""
    by_model: dict[str, list[Incident]] = defaultdict(list)
    drills: dict[str, list[TimedDrill]] = {}
    with wiring.open_journal(read_settings()) as journal:
        for known in _all_incidents(journal):
            if not model or known.model == model:
                by_model[known.model].append(known.incident)
        for name in [model] if model else journal.models():
            if drilled := finished_drills(journal.read(name)):
                drills[name] = drilled
    found = [
        compute_incident_statistics(name, by_model.get(name, ()), (one.event for one in drills.get(name, ())))
        for name in sorted({*by_model, *drills})
    ]
    if plot is not None:
        from surefoot.reports.incident_statistics_plot import draw_incident_statistics_png  # noqa: PLC0415 - Matplotlib

        plot.write_bytes(draw_incident_statistics_png(by_model, drills))
    if json_:
        print_json({"models": [as_json(one) for one in found]})
        return
    table = Table(
        "model", "incidents", "open", "rollbacks", "false", "to detect: median", "longest", "to restore: median",
        "longest", "drills", "failed", "restored in", box=None, padding=(0, 2),
    )  # fmt: skip
    for one in found:
        rehearsed = (f"{one.drills:,}", f"{one.failed_drills:,}", _duration(one.drill_to_restore))
        times = (one.time_to_detect, one.longest_to_detect, one.time_to_restore, one.longest_to_restore)
        counts = (one.incidents, one.still_open, one.rollbacks)
        false = f"{one.false_rollbacks:,} of {one.judged_rollbacks:,} judged"
        table.add_row(escape(one.model), *(f"{count:,}" for count in counts), false, *map(_duration, times), *rehearsed)
    print_table(table)
    if plot is not None:
        console.print(f"drawn into {plot}", markup=False)


@_app.command()
def show(
    incident: _LatestArgument = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the whole report as Markdown.")] = False,
    json_: JsonOption = False,
) -> None:
    """Show an incident as it stands now: what happened when, who was affected, and what is still to be done."""
    config = read_settings()
    with wiring.open_journal(config) as journal:
        found = _find(journal, incident)
        report = reports.build_report(config, journal.read(found.model), found.model, found.incident.name)
    page, _ = reports.report_files(config, found.model, found.incident.name)
    if json_:
        told = {
            "timeline": [as_json(row) for row in report.timeline.rows],
            "time_to_detect_s": report.timeline.time_to_detect,
            "time_to_restore_s": report.timeline.time_to_restore,
            "impact": as_json(report.impact) if report.impact else None,
            "verdicts": [as_json(verdict) for verdict in report.verdicts],
            "actions": [as_json(action) for action in report.actions],
            "pending": list(report.pending),
            "page": str(page) if page.is_file() else None,
        }
        print_json(_incident_json(found) | told)
    elif markdown:
        print(render_incident_markdown(report), end="")  # noqa: T201 - standard output is the interface
    else:
        _print_report(config, found, report)


def _print_report(config: Settings, found: _Found, report: IncidentReport) -> None:
    """Print the short form of a report."""
    console.print(
        f"[bold]{escape(render_headline(report))}[/bold]  incident {found.incident.name}, {_state(found.incident)}"
    )
    console.print(f"  {colour_outcome_words(' '.join(found.incident.opened.reason.split()))}")
    table = Table("when (UTC)", "moment", "what", "by", box=None, padding=(0, 2))
    for row in report.timeline.rows:
        who = escape(row.actor or "prediction log")
        table.add_row(format_utc_time(row.at), str(row.moment), colour_outcome_words(row.text), who)
    print_table(table)
    line = report.timeline
    console.print(
        f"detected after {_duration(line.time_to_detect)}, restored {_duration(line.time_to_restore)} after that"
    )
    if (triaged := found.incident.triaged) is not None:
        console.print(f"cause: {triaged.cause_in_words}: {triaged.sentence}", markup=False)
    if (impact := report.impact) is not None:
        units = "" if impact.units is None else f" of {impact.units:,} unit{'' if impact.units == 1 else 's'}"
        console.print(
            f"version {found.incident.version.number} answered {impact.requests:,} requests{units} since the onset,"
            f" and failed {impact.failed:,} that another version answered"
        )
        if (costs := impact.costs) is not None:
            console.print(
                f"its decisions cost {costs.version:,.2f} by the prices in the policy, {costs.difference:+,.2f} beside"
                f" those of the good version, on {costs.compared:,} answers with a label"
            )
    for note in found.incident.notes:
        source = f" ({note.event.source})" if note.event.source else ""
        console.print(f"{note.event.kind} by {note.actor}{source}: {note.event.text}", markup=False)
    for one in report.pending:
        console.print(f"open: {one}", markup=False)
    page, _ = reports.report_files(config, found.model, found.incident.name)
    if page.is_file():
        console.print(f"report: {page}", markup=False)


@_app.command()
def triage(incident: _LatestArgument = "", json_: JsonOption = False) -> None:
    """Look for the cause of an incident again: both versions are asked about requests from before and after it."""
    config = read_settings()
    with wiring.open_ports(config, current_actor(), REGISTRY_TIMEOUT_S) as ports:
        found = _find(ports.journal, incident)
        require_allowed_actor(config, Action.MANAGE_INCIDENTS, found.model)
        triaged = reports.triage_incident(config, ports, found.model, found.incident.name)
        reports.write_report(config, ports, found.model, found.incident.name)
    if json_:
        print_json(as_json(triaged) | {"model": found.model})
        return
    console.print(f"[bold]{escape(triaged.cause_in_words)}[/bold]: {escape(triaged.sentence)}")
    for line in triaged.evidence:
        console.print(f"  {line}", markup=False)
    for line in triaged.would_tell:
        console.print(f"would {'tell it' if triaged.cause is Cause.UNKNOWN else 'confirm it'}: {line}", markup=False)


@_app.command()
def draft(
    incident: _LatestArgument = "",
    to: Annotated[str, typer.Option(help="Who is told: users, support, management, or a template of yours.")] = "users",
) -> None:
    """Draft a message about an incident, from a template in configs/messages/ or a built-in one."""
    config = read_settings()
    with wiring.open_journal(config) as journal:
        found = _find(journal, incident)
        report = reports.build_report(config, journal.read(found.model), found.model, found.incident.name)
    print(render_message_draft(report, to, config.project), end="")  # noqa: T201 - standard output is the interface


@_app.command()
def note(incident: _IncidentArgument, text: Annotated[str, typer.Argument(help="What was observed or done.")]) -> None:
    """Add a note to an incident: an observation, or something that was done about it."""
    _add(incident, NoteKind.NOTE, text, "")


@_app.command()
def feedback(
    incident: _IncidentArgument,
    text: Annotated[str, typer.Argument(help="What a user says of the rollback.")],
    source: Annotated[str, typer.Option("--from", help="Who says it.")] = "",
) -> None:
    """Add what a user says of a rollback to its incident, so that it stands in the report."""
    _add(incident, NoteKind.FEEDBACK, text, source)


@_app.command("told")
def record_notified_people(
    incident: _IncidentArgument,
    text: Annotated[str, typer.Argument(help="What they were told.")],
    whom: Annotated[str, typer.Option("--whom", help="Who was told.")] = "",
) -> None:
    """Record which people were told about an incident, and what, for the report."""
    _add(incident, NoteKind.MESSAGE, text, whom)


def _add(incident: str, kind: NoteKind, text: str, source: str) -> None:
    """Journal a note and write the report again."""
    config = read_settings()
    with wiring.open_ports(config, current_actor(), REGISTRY_TIMEOUT_S) as ports:
        found = _find(ports.journal, incident)
        require_allowed_actor(config, Action.MANAGE_INCIDENTS, found.model)
        add_incident_note(ports, found.model, IncidentNoted(found.incident.name, kind, text.strip(), source.strip()))
        reports.write_report(config, ports, found.model, found.incident.name)
    console.print(f"added to incident {found.incident.name} of {found.model}", markup=False)


@_app.command()
def close(
    incident: _IncidentArgument,
    reason: Annotated[str, typer.Argument(help="Why it is over.")],
    cause: Annotated[str, typer.Option(help="What caused it, as far as you know.")] = "",
    false_alarm: Annotated[bool, typer.Option("--false-alarm", help="Nothing was wrong with the version.")] = False,
) -> None:
    """Close an incident with its cause; its evidence is kept until the hold on it is lifted."""
    config = read_settings()
    with wiring.open_ports(config, current_actor(), REGISTRY_TIMEOUT_S) as ports:
        found = _find(ports.journal, incident)
        require_allowed_actor(config, Action.MANAGE_INCIDENTS, found.model)
        event = IncidentClosed(found.incident.name, cause.strip(), reason.strip(), false_alarm)
        close_incident(ports, found.model, event)
        reports.write_report(config, ports, found.model, found.incident.name)
    console.print(f"incident {found.incident.name} of {found.model} is closed", markup=False)
    if found.incident.held is not None:
        console.print(f"its evidence is kept until 'surefoot incident release {found.incident.name}'")


@_app.command()
def release(incident: _IncidentArgument, reason: _ReasonArgument) -> None:
    """Lift the hold on an incident's evidence, so that it expires as everything else does."""
    config = read_settings()
    with wiring.open_ports(config, current_actor(), REGISTRY_TIMEOUT_S) as ports:
        found = _find(ports.journal, incident)
        require_allowed_actor(config, Action.MANAGE_INCIDENTS, found.model)
        lift_evidence_hold(ports, found.model, found.incident.name, reason.strip())
        reports.write_report(config, ports, found.model, found.incident.name)
    console.print(f"the evidence of incident {found.incident.name} of {found.model} may expire now", markup=False)


def _state(incident: Incident) -> str:
    if incident.closed is None:
        return "open"
    return "false alarm" if incident.closed.false_alarm else "closed"


def _duration(seconds: float | None) -> str:
    """A time in words."""
    return "not known" if seconds is None else format_duration(seconds)


def _incident_json(found: _Found) -> dict[str, object]:
    """An incident for a program."""
    one, told = found.incident, found.incident.reported
    return {
        "incident": one.name,
        "model": found.model,
        "version": one.version.number,
        "opened": one.at,
        "state": _state(one),
        "trigger": one.opened.trigger,
        "reason": one.opened.reason,
        "rollback": one.rollback or None,
        "closed": {"at": one.closed_at, "by": one.closed_by, **as_json(one.closed)} if one.closed else None,
        "notes": [{"at": note.at, "by": note.actor, **as_json(note.event)} for note in one.notes],
        "triage": as_json(one.triaged) if one.triaged else None,
        "held": as_json(one.held) if one.held else None,
        "report": as_json(told) if told else None,
    }


def _name(journal: Journal, begins: str) -> tuple[str, str]:
    """Model and id of the incident whose id begins so."""
    found = _find(journal, begins)
    return found.model, found.incident.name


def register(commands: typer.Typer) -> None:
    """Add the group of commands."""
    incident_review.register(_app, _name)
    commands.add_typer(_app, name="incident")
