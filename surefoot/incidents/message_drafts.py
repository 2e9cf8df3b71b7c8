"""Draft a message for each audience that must be informed about an incident."""

from collections.abc import Iterable
from pathlib import Path

from surefoot.core.errors import Rejected
from surefoot.core.incidents.incident_events import MessageDrafted
from surefoot.core.incidents.incident_report import IncidentReport
from surefoot.core.incidents.playbook import MESSAGE_AUDIENCES
from surefoot.core.journal.ledger import Ledger
from surefoot.core.policy.recovery.playbook import Playbook
from surefoot.reports.message_templates import render_message_draft
from surefoot.rollout import Ports, retry_on_conflict

_SENT_WITHIN_S = 86400.0
"""Age of an incident up to which its first message is sent by itself [seconds]: after an upgrade old ones are not."""


def due_drafts(ledger: Ledger, incident: str, playbook: Playbook) -> tuple[str, ...]:
    """Audiences of an incident for which a message is to be drafted now.

    A message is drafted as soon as the incident has a report, and once more when the answers of the version are listed.

    Args:
        ledger: State of the model.
        incident: Id of the incident.
        playbook: Who is told, as the policy says now.
    """
    audiences = tuple(dict.fromkeys((*MESSAGE_AUDIENCES, *playbook.send)))
    return ledger.incidents.known[incident].due_drafts(audiences)


def draft_messages(
    project: Path, ports: Ports, report: IncidentReport, playbook: Playbook, audiences: Iterable[str]
) -> None:
    """Draft a message for each audience, and journal it; a template that cannot be filled is journalled as that.

    Args:
        project: Folder with configs/.
        ports: Journal and clock.
        report: The incident.
        playbook: Who is told, as the policy says now.
        audiences: Those for whom a message is due.

    Raises:
        SurefootError: The journal cannot be used.
    """
    incident = report.incident
    counted = incident.reported is not None and incident.reported.requests is not None
    fresh = ports.clock.now() - incident.at <= _SENT_WITHIN_S
    for audience in audiences:
        before = incident.drafts.get(audience)
        send = audience in playbook.send and (before.send if before is not None else fresh)
        try:
            event = MessageDrafted(
                incident.name, audience, render_message_draft(report, audience, project), send, counted
            )
        except Rejected as error:
            event = MessageDrafted(incident.name, audience, "", send, counted, str(error))
        _journal(ports, report.model, event)


def _journal(ports: Ports, model: str, event: MessageDrafted) -> None:
    retry_on_conflict(lambda: ports.append(ports.ledger(model), event))
