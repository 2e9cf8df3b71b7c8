"""Describe for the `status` command why a model's rollouts wait."""

from surefoot.core.domain import Stage
from surefoot.core.errors import SurefootError
from surefoot.core.journal.ledger import Ledger, Rollout
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.violations import Violation
from surefoot.core.stages.hold_events import FreezeSource
from surefoot.reports.incident_page import format_time
from surefoot.rollout import Ports, list_freezes


def describe_waits(ports: Ports, ledger: Ledger) -> list[str]:
    """What is waited for, until when, and by which command it ends; one line each."""
    rollout = ledger.rollout
    return [*_freezes(ports, ledger), *(_rollout_waits(ledger, rollout) if rollout and not rollout.ending else [])]


def _freezes(ports: Ports, ledger: Ledger) -> list[str]:
    found = []
    for one in list_freezes(ports, ledger):
        until = f" until {format_time(one.until)} UTC" if one.until is not None else ""
        who = "the calendar" if one.source is FreezeSource.CALENDAR else "a person"
        ends = "" if one.source is FreezeSource.CALENDAR else f"; 'surefoot unfreeze {ledger.model}' ends it"
        over = "; the open rollout goes on in spite of it" if ledger.rollout and ledger.rollout.overridden else ""
        found.append(f"frozen by {who}{until}: {one.reason}{ends}{over}")
    return found


def _rollout_waits(ledger: Ledger, rollout: Rollout) -> list[str]:
    held = (
        [f"paused by a person: {rollout.held.reason}; 'surefoot resume {ledger.model}' ends it"] if rollout.held else []
    )
    if rollout.stage is not Stage.AWAITING_APPROVAL:
        return held
    try:
        step = parse_policy(rollout.opened.policy).approvals[rollout.step]
    except (SurefootError, Violation):
        return held
    state = rollout.approvals
    until = format_time(rollout.waiting_since + step.expires)
    said = f"approved by {', '.join(state.people())}" if state.people() else "no person has approved yet"
    denied = f", denied by {', '.join(one.signed.person for one in state.denied)}" if state.denied else ""
    refused = f"; {state.refused} statements were refused, 'surefoot history {ledger.model}' says why"
    waits = f"waits for {step.quorum} of group '{step.by}' until {until} UTC, then {step.then}: {said}{denied}"
    shows = f"'surefoot approve {ledger.model}' shows the evidence and signs{refused if state.refused else ''}"
    return [*held, f"{waits}; {shows}"]
