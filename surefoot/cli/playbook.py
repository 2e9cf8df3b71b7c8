"""Define the command `playbook`, which lists what people must do in an open incident."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from surefoot import wiring
from surefoot.cli.access.permission import require_allowed_actor
from surefoot.cli.printing.console import console, format_utc_time, print_json, print_table
from surefoot.cli.read_only import JsonOption, ModelArgument
from surefoot.cli.shared.actor import current_actor
from surefoot.cli.shared.timeouts import REGISTRY_TIMEOUT_S
from surefoot.core.access.roles import Action
from surefoot.core.errors import NotFound
from surefoot.core.incidents.incident_events import IncidentNoted, NoteKind
from surefoot.core.incidents.playbook import PlaybookStep, find_open_incident, list_playbook_steps
from surefoot.core.journal.events import as_json
from surefoot.core.journal.ledger import Ledger
from surefoot.core.policy.policy_types import Policy
from surefoot.core.policy.recovery.playbook import Playbook
from surefoot.incidents import incident_reports as reports
from surefoot.rollout import Ports, add_incident_note
from surefoot.settings import read_settings


def playbook(
    model: ModelArgument,
    done: Annotated[str, typer.Option(help="Record that this step is done.")] = "",
    note: Annotated[str, typer.Option(help="What was done, for the record; with --done.")] = "",
    json_: JsonOption = False,
) -> None:
    """Print what to do now, step by step, from the state of the model; done steps are recorded."""
    config = read_settings()
    if done:
        require_allowed_actor(config, Action.MANAGE_INCIDENTS, model)
    policy = wiring.read_policies(config).get(model)
    with wiring.open_ports(config, current_actor(), REGISTRY_TIMEOUT_S) as ports:
        ledger = ports.ledger(model)
        if not ledger.head:
            raise NotFound(
                f"the journal holds nothing of {model}; known: {', '.join(ports.journal.models()) or 'none'}"
            )
        if done:
            _record(ports, ledger, policy, done, note)
            incident = find_open_incident(ports.ledger(model))
            if incident is not None:
                reports.write_report(config, ports, model, incident.name)
        ledger, now = ports.ledger(model), ports.clock.now()
    steps = list_playbook_steps(ledger, _section(policy))
    incident = find_open_incident(ledger)
    if json_:
        print_json(
            {"model": model, "incident": incident.name if incident else None, "steps": [as_json(one) for one in steps]}
        )
    elif incident is None:
        console.print(f"no incident of {escape(model)} is open: nothing is to be done")
        console.print(f"to take its champion back: surefoot rollback {escape(model)} --reason '...'")
    else:
        console.print(f"[bold]incident {incident.name}[/bold] of version {incident.version.number}, open since"
                      f" {format_utc_time(incident.at)} UTC: {escape(incident.opened.reason)}")  # fmt: skip
        _print_steps(model, steps, now)


def _section(policy: Policy | None) -> Playbook:
    return policy.playbook if policy else Playbook.model_validate({})


def _record(ports: Ports, ledger: Ledger, policy: Policy | None, done: str, note: str) -> None:
    """Journal that a step is done.

    Raises:
        NotFound: No incident is open, or it has no such step.
    """
    incident = find_open_incident(ledger)
    names = [one.name for one in list_playbook_steps(ledger, _section(policy))]
    if incident is None or done not in names:
        raise NotFound(
            f"there is no step '{done}' to be done; steps: {', '.join(names) or 'none, no incident is open'}"
        )
    add_incident_note(ports, ledger.model, IncidentNoted(incident.name, NoteKind.STEP, note.strip() or "done", done))


def _print_steps(model: str, steps: tuple[PlaybookStep, ...], now: float) -> None:
    """Print the steps: what is done, and what is to be done next."""
    table = Table("", "step", "what to do", "command", "until (UTC)", box=None, padding=(0, 2))
    for one in steps:
        mark = "[green]done[/green]" if one.done_by else escape("[ ]")
        what = escape(one.text) + (f" [dim]({escape(one.done_by)})[/dim]" if one.done_by else "")
        due = "" if one.due is None else format_utc_time(one.due)
        late = one.due is not None and one.due < now and not one.done_by
        table.add_row(mark, one.name, what, escape(one.command), f"[red]{due}[/red]" if late else due)
    print_table(table, 200)
    console.print(f"what is done is recorded: surefoot playbook {escape(model)} --done STEP")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(playbook)
