"""Define the command `incident review`, which reviews an incident and proposes policy changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from surefoot import wiring
from surefoot.cli.printing.console import console, print_json
from surefoot.core.errors import EvidenceUnavailable
from surefoot.core.incidents.review.policy_change_ranking import AFTER, BEFORE, IncidentReview
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import as_json
from surefoot.core.ports import Journal
from surefoot.incidents import incident_review as reviews
from surefoot.incidents.incident_reports import report_files
from surefoot.reports.incident_review_page import describe_costs, describe_gain, render_incident_review
from surefoot.settings import Settings, read_settings


def draft_incident_review(
    config: Settings, entries: tuple[Entry, ...], model: str, incident: str, draws: int
) -> IncidentReview:
    """Review an incident, and write the review beside its report.

    Raises:
        EvidenceUnavailable: The review cannot be written.
    """
    found = reviews.review_incident(config, entries, model, incident, draws)
    try:
        file = build_review_path(config, model, incident)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(render_incident_review(found), encoding="utf-8")
        file.chmod(0o640)
    except OSError as error:
        raise EvidenceUnavailable(f"the review cannot be written: {error}") from error
    return found


def build_review_path(config: Settings, model: str, incident: str) -> Path:
    """Where the Markdown text of a review is: beside the incident's report."""
    _, text = report_files(config, model, incident)
    return text.with_name(f"{incident}-review.md")


def register(incidents: typer.Typer, find: Callable[[Journal, str], tuple[str, str]]) -> None:
    """Add the command.

    Args:
        incidents: The group of commands about incidents.
        find: Model and id of the incident whose id begins so.
    """

    @incidents.command()
    def review(
        incident: Annotated[
            str, typer.Argument(help="Id of the incident, or how it begins; the latest without it.")
        ] = "",
        apply: Annotated[
            bool, typer.Option("--apply", help="Write the proposed policy over configs/MODEL.yaml.")
        ] = False,
        draws: Annotated[
            int,
            typer.Option(min=1, max=1000, help="Rollouts of the good version against itself that count false alarms."),
        ] = reviews.FALSE_ALARM_TRIALS,
        json_: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
    ) -> None:
        """Draft the review of an incident: the policy that would have stopped the version sooner."""
        config = read_settings()
        with wiring.open_journal(config) as journal:
            model, name = find(journal, incident)
            entries = journal.read(model)
        found = draft_incident_review(config, entries, model, name, draws)
        file = build_review_path(config, model, name)
        if json_:
            print_json(_review_json(found, file))
        else:
            print(file.read_text(encoding="utf-8"), end="")  # noqa: T201 - standard output is the interface
            console.print(f"written to {file}", markup=False)
        if apply:
            applied = reviews.apply_review(config, found)
            if not json_:
                console.print(f"{applied} is the proposed policy now", markup=False)


def _review_json(found: IncidentReview, file: Path) -> dict[str, object]:
    """A review for a program."""
    draws = int(found.proposed.trials) if found.proposed and not found.is_watch else 0
    return {
        "incident": found.case.incident,
        "model": found.case.model,
        "case": as_json(found.case),
        "folder": found.folder,
        "detected_by": as_json(found.found),
        "in_force": as_json(found.in_force),
        "tried": [as_json(one) for one in found.tried],
        "refused": [{"change": words, "why": why} for words, why in found.refused],
        "proposed": as_json(found.proposed) if found.proposed else None,
        "sooner_s": found.sooner_s,
        "gain": describe_gain(found),
        "costs": describe_costs(found),
        "diff": found.diff,
        "commands": {
            "in_force": found.command(BEFORE),
            "proposed": found.command(AFTER) if found.proposed else None,
            "false_alarms": found.command(AFTER, draws) if draws else None,
        },
        "file": str(file),
    }
