"""Render the draft of a message about an incident from a template."""

from pathlib import Path

from jinja2 import TemplateError
from jinja2.sandbox import SandboxedEnvironment

from surefoot.core.errors import Rejected
from surefoot.core.incidents.incident_report import IncidentReport
from surefoot.core.incidents.playbook import MESSAGE_AUDIENCES
from surefoot.core.incidents.redact_incident_reason import redact_incident_reason
from surefoot.core.incidents.timeline import Moment
from surefoot.core.triage.triage import Cause
from surefoot.reports.incident_page import (
    describe_suspected_cause,
    format_optional_duration,
    format_time,
    render_headline,
)

_BUILT_IN = Path(__file__).parent / "templates" / "messages"


def render_message_draft(report: IncidentReport, audience: str, project: Path) -> str:
    """The draft of a message: from `configs/messages/<audience>.md` of the project where it has one.

    Args:
        report: The incident.
        audience: Who is told.
        project: Folder with configs/.

    Raises:
        Rejected: There is no template for this audience, or it cannot be filled; the message says where and why.
    """
    own = project / "configs" / "messages" / f"{audience}.md"
    if not own.is_file() and audience not in MESSAGE_AUDIENCES:
        raise Rejected(f"there is no template for '{audience}': write {own}, or choose {', '.join(MESSAGE_AUDIENCES)}")
    source = own if own.is_file() else _BUILT_IN / f"{audience}.md"
    environment = SandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    try:
        return environment.from_string(source.read_text(encoding="utf-8")).render(**_values(report)).strip() + "\n"
    except (TemplateError, OSError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise Rejected(f"{source} cannot be filled: {error}") from error


def _values(report: IncidentReport) -> dict[str, object]:
    """What a template may use."""
    line, impact = report.timeline, report.impact
    back = line.at(Moment.TRAFFIC_BACK)
    ended = max((row.at for row in line.rows), default=report.incident.at)
    return {
        "model": report.model,
        "incident": report.incident.name,
        "headline": render_headline(report),
        "reason": " ".join(redact_incident_reason(report.incident.opened).split()),
        "bad": report.incident.version.number,
        "good": report.good.number if report.good else "",
        "rolled_back": back is not None,
        "onset": line.at(Moment.ONSET) or report.incident.at,
        "back": ended if back is None else back,
        "requests": impact.requests if impact else None,
        "units": impact.units if impact else None,
        "detect": format_optional_duration(line.time_to_detect),
        "restore": format_optional_duration(line.time_to_restore),
        "cause": _cause(report),
        "time": format_time,
        "count": "{:,}".format,
    }


def _cause(report: IncidentReport) -> str:
    """The cause for people outside; what a model's error says stays inside, for it may hold a value of a request."""
    triaged = report.incident.triaged
    if triaged is None or triaged.cause is Cause.UNKNOWN:
        return redact_incident_reason(report.incident.opened)
    return str(triaged.cause) if triaged.cause is Cause.RESOURCES else describe_suspected_cause(report)
