"""Render an incident report as one self-contained HTML page and as Markdown."""

import base64
import datetime as dt
import html

from surefoot.core.durations import format_duration
from surefoot.core.incidents.incident_events import NoteKind
from surefoot.core.incidents.incident_report import IncidentReport
from surefoot.core.incidents.report_deadlines import report_deadlines
from surefoot.core.incidents.timeline import Moment
from surefoot.core.triage.triage import Cause
from surefoot.reports.incident_plots import draw_incident_plots
from surefoot.reports.page_templates import load_page_template

_SPANS = (
    (Moment.ONSET, Moment.DETECTED),
    (Moment.DETECTED, Moment.DECIDED),
    (Moment.DECIDED, Moment.TRAFFIC_BACK),
    (Moment.TRAFFIC_BACK, Moment.LAST_ANSWER),
    (Moment.TRAFFIC_BACK, Moment.REGISTRY_RESTORED),
    (Moment.TRAFFIC_BACK, Moment.DATA_RESTORED),
)
"""Parts of the time to detect and to restore."""


def render_headline(report: IncidentReport) -> str:
    """What the incident is, in one line."""
    bad, good = report.incident.version.number, report.good.number if report.good else ""
    if not report.incident.rollback:
        return f"Version {bad} of {report.model} is in trouble"
    if report.timeline.at(Moment.TRAFFIC_BACK) is None:
        return f"Version {bad} of {report.model} is being taken back"
    return f"Version {bad} of {report.model} was taken back" + (f", version {good} serves" if good else "")


def render_incident_html(report: IncidentReport) -> str:
    """One self-contained HTML page about an incident.

    Law: every text of the report is escaped; the page names no address outside itself.
    """
    plots = draw_incident_plots(report)
    return load_page_template("incident.html").render(**_values(report), plots=plots, data=_data_address)


def render_incident_markdown(report: IncidentReport) -> str:
    """The same report as Markdown, without plots; no text of the report can end a cell of its table."""
    return load_page_template("incident.md").render(
        **_values(report), line=escape_markdown_line, cell=escape_markdown_cell
    )


def _values(report: IncidentReport) -> dict[str, object]:
    """What both templates use."""
    line = report.timeline
    told = ((first, last, line.at(first), line.at(last)) for first, last in _SPANS)
    spans = [
        (first, last, ended - began)
        for first, last, began, ended in told
        if began is not None and ended is not None and ended >= began
    ]
    aware = line.at(Moment.DETECTED) or report.incident.at
    return {
        "report": report,
        "incident": report.incident,
        "headline": render_headline(report),
        "state": _state(report),
        "spans": spans,
        "clocks": report_deadlines(aware),
        "facts": _facts(report, aware),
        "time": format_time,
        "duration": format_optional_duration,
        "count": "{:,}".format,
        "money": "{:,.2f}".format,
    }


def _state(report: IncidentReport) -> str:
    """Whether the incident is closed, by whom and why."""
    one = report.incident
    if one.closed is None:
        return "open"
    what = "a false alarm" if one.closed.false_alarm else "closed"
    return f"{what}, {format_time(one.closed_at)} UTC by {one.closed_by}: {one.closed.reason}"


def _facts(report: IncidentReport, aware: float) -> list[tuple[str, str]]:
    """What a report to an authority would say, as far as the record knows it."""
    impact, closed = report.impact, report.incident.closed
    units = "not known" if impact is None or impact.units is None else f"{impact.units:,} units"
    told = [note.event for note in report.incident.notes if note.event.kind is NoteKind.MESSAGE]
    back = report.timeline.at(Moment.TRAFFIC_BACK)
    corrected = "not yet" if back is None else f"traffic was back at {format_time(back)} UTC"
    return [
        ("Provider became aware", f"{format_time(aware)} UTC"),
        ("Kind of harm", "for a person to judge"),
        ("Persons affected", units),
        ("Suspected cause", closed.cause if closed and closed.cause else describe_suspected_cause(report)),
        ("Corrective action", corrected),
        ("Persons told", "; ".join(f"{one.source or 'not named'}: {one.text}" for one in told) or "none yet"),
    ]


def describe_suspected_cause(report: IncidentReport) -> str:
    """The cause that was found, or why the incident was opened while none is known."""
    triaged = report.incident.triaged
    if triaged is None or triaged.cause is Cause.UNKNOWN:
        return report.incident.opened.reason
    return f"{triaged.cause_in_words}: {triaged.sentence}"


def format_time(at: float) -> str:
    """A time for people, UTC."""
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")


def format_optional_duration(seconds: float | None) -> str:
    """A time in words."""
    return "not known" if seconds is None else format_duration(seconds)


def _data_address(picture: bytes) -> str:
    """A picture as an address that holds all of it."""
    return "data:image/svg+xml;base64," + base64.b64encode(picture).decode("ascii")


def escape_markdown_line(text: str) -> str:
    """A text as one line of Markdown, in which it is no HTML."""
    return html.escape(" ".join(str(text).split()), quote=False)


def escape_markdown_cell(text: str) -> str:
    """A text as one cell of a Markdown table."""
    return escape_markdown_line(text).replace("|", "\\|")
