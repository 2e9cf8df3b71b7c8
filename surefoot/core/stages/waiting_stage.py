"""Decide what a rollout does while it waits, for example for an approval."""

from surefoot.core.actions import Action, RecordEvent, WaitUntil
from surefoot.core.approvals.approval_events import ApprovalOverdue, ApprovalsVoided
from surefoot.core.approvals.approval_state import find_changed_gate
from surefoot.core.domain import Outcome, Stage
from surefoot.core.durations import format_duration
from surefoot.core.journal.events import EndDecided, Paused
from surefoot.core.journal.ledger import Ledger
from surefoot.core.policy.policy_types import Approve, Policy
from surefoot.core.stages.judged_stage import (
    complete_or_repeat_look,
    end_on_failure,
    enter_next_stage,
    failed_guardrail,
    next_look_or_wait,
)
from surefoot.core.stages.rollout_state import Rollout
from surefoot.core.stages.stage_looks import StageLook

_LONGEST_WAIT_S = 3600.0
"""Longest time until a waiting rollout is looked at again [seconds]."""


def wait_in_place(ledger: Ledger, rollout: Rollout, policy: Policy, look: StageLook, now: float) -> Action:
    """Judge on what the stage before asked, and go on once people, the calendar and every gate let it.

    A guardrail that fails ends the rollout, also one that people have approved.
    """
    if due := complete_or_repeat_look(rollout, look, now):
        return due
    failed = failed_guardrail(rollout, look)
    if failed and (ended := end_on_failure(rollout, policy, failed, now)):
        return ended
    if failed and rollout.paused is None:
        return RecordEvent(Paused(rollout.opened.rollout, failed.outcome, failed.gate, failed.reason))
    passes = all(rollout.verdicts[gate.name].outcome is Outcome.PASS for gate in look.gates)
    moments = [rollout.waiting_since + policy.approvals[rollout.step].expires] if _waits_for_people(rollout) else []
    if _waits_for_people(rollout):
        step = policy.approvals[rollout.step]
        if changed := _decision(rollout, step, now):
            return changed
        reason = f"approved by {', '.join(rollout.approvals.people())}"
        ready = is_approved(rollout, step) and passes and not failed
    else:
        reason, ready = "it goes on", passes and not failed
    if ready and (further := enter_next_stage(ledger, rollout, policy, now, reason)):
        return further
    action = next_look_or_wait(rollout, policy, look, now, ())
    moments += [one.until for one in ledger.freezes.in_force(now) if one.until is not None]
    if not isinstance(action, WaitUntil):
        return action
    return WaitUntil(min((action.until, now + _LONGEST_WAIT_S, *(end for end in moments if end > now))), action.reason)


def is_approved(rollout: Rollout, step: Approve) -> bool:
    """Whether enough people have approved, and none has denied."""
    return len(rollout.approvals.people()) >= step.quorum and not rollout.approvals.denied


def _waits_for_people(rollout: Rollout) -> bool:
    return rollout.stage is Stage.AWAITING_APPROVAL


def _decision(rollout: Rollout, step: Approve, now: float) -> Action | None:
    """What follows from what people have said, or from their silence; None while that is still open, or yes."""
    name, state = rollout.opened.rollout, rollout.approvals
    for given in state.given:
        if gate := find_changed_gate(given.signed.outcomes, rollout.latest):
            after = rollout.latest[gate].outcome.value if gate in rollout.latest else ""
            before = given.signed.outcomes.get(gate, "")
            return RecordEvent(ApprovalsVoided(name, rollout.step, gate, before, after))
    if state.denied and step.then == "abort":
        why = state.denied[0].reason
        reason = f"denied by {state.denied[0].signed.person}{f': {why}' if why else ''}"
        return RecordEvent(EndDecided(name, Stage.ABORTED, "approval", reason))
    if now >= rollout.waiting_since + step.expires and not is_approved(rollout, step):
        reason = _missing_approvals(rollout, step)
        if step.then == "abort":
            return RecordEvent(EndDecided(name, Stage.ABORTED, "approval", reason))
        if not state.overdue:
            return RecordEvent(ApprovalOverdue(name, rollout.step, reason))
    return None


def _missing_approvals(rollout: Rollout, step: Approve) -> str:
    """How many of the approvals that are needed have come, in words."""
    people = rollout.approvals.people()
    said = f": {', '.join(people)}" if people else ""
    within = format_duration(step.expires)
    return f"{len(people)} of {step.quorum} approvals by group '{step.by}' came within {within}{said}"
