"""Decide what a rollout does next in a stage whose gates are judged at repeated looks."""

import math
from collections.abc import Iterable

from surefoot.core.actions import Action, JudgeGates, RecordEvent, WaitUntil
from surefoot.core.domain import Outcome, Role, Stage, Verdict
from surefoot.core.journal.events import EndDecided, Paused, RolloutEnded, StageEntered
from surefoot.core.journal.ledger import Ledger
from surefoot.core.policy.policy_types import FailureAction, Policy
from surefoot.core.stages.rollout_state import Rollout
from surefoot.core.stages.stage_looks import StageLook
from surefoot.core.stages.stage_places import next_place, place_index

_TIME_TOLERANCE_S = 1e-3
"""Times of day and spans of time are rounded differently [seconds]."""
_MAX_LOOK_AGE_INTERVALS = 3.0
"""A look that is this many intervals old is repeated before anything is decided on it."""
_FROZEN_STAGES = frozenset({Stage.RAMPING, Stage.PROMOTING})
"""Stages that give the candidate more traffic: none begins while the model is frozen."""


def judge_stage(ledger: Ledger, rollout: Rollout, policy: Policy, look: StageLook, now: float) -> Action:
    """Look, react, wait, and go on when every gate passes and the hold is over."""
    if due := complete_or_repeat_look(rollout, look, now):
        return due
    over = rollout.entered_at + look.hold
    # What was missing while a person had paused it is measured anew: its waits begin when it is resumed.
    free = math.inf if rollout.held else max(over, rollout.released_at)
    if failed := failed_guardrail(rollout, look):
        if ended := end_on_failure(rollout, policy, failed, now):
            return ended
        stuck: Verdict | None = failed
    else:
        needed = [rollout.verdicts[gate.name] for gate in look.gates]
        passed = all(v.outcome is Outcome.PASS for v in needed) and now >= over
        if passed and (further := enter_next_stage(ledger, rollout, policy, now, "every gate passed")):
            return further
        # Measuring takes time of its own: only what was asked after the wait was over says that it was in vain.
        waited = [v for v in needed if v.outcome is not Outcome.PASS]
        late = [v for v in waited if rollout.asked_at >= free + policy.on[v.outcome].hold - _TIME_TOLERANCE_S]
        expelled = next(
            (v for v in late if v.role is Role.GUARDRAIL and policy.on[v.outcome].then is FailureAction.ROLLBACK), None
        )
        if expelled:
            return _end(rollout, expelled)
        stuck = late[0] if late else None
    if stuck and rollout.paused is None:
        return RecordEvent(Paused(rollout.opened.rollout, stuck.outcome, stuck.gate, stuck.reason))
    needed = [rollout.verdicts[gate.name] for gate in look.gates]
    return next_look_or_wait(rollout, policy, look, now, _deadlines(rollout, policy, needed, free))


def complete_or_repeat_look(rollout: Rollout, look: StageLook, now: float) -> JudgeGates | None:
    """The look that must be taken before anything is decided: one that is not complete, or too old; else None."""
    everything, asked = (*look.gates, *look.armed), max(rollout.look, 1)
    missing = tuple(gate for gate in everything if rollout.look == 0 or gate.name not in rollout.verdicts)
    if missing:
        return JudgeGates(look.kind, missing, asked, look.since, look.level_at(rollout, asked, now))
    if now - rollout.looked_at > _MAX_LOOK_AGE_INTERVALS * look.every:
        # No look was taken for a while (a scheduler was down): what was true then decides nothing now.
        level = look.level_at(rollout, asked + 1, now)
        return JudgeGates(look.kind, everything, asked + 1, look.since, level)
    return None


def failed_guardrail(rollout: Rollout, look: StageLook) -> Verdict | None:
    """The first guardrail that fails; None where none does."""
    verdicts = (rollout.verdicts[gate.name] for gate in (*look.gates, *look.armed))
    return next((v for v in verdicts if v.outcome is Outcome.FAIL and v.role is Role.GUARDRAIL), None)


def end_on_failure(rollout: Rollout, policy: Policy, failed: Verdict, now: float) -> Action | None:
    """The end of a rollout whose guardrail fails, where the policy wants one by now."""
    reaction = policy.on[Outcome.FAIL]
    if reaction.then is FailureAction.ROLLBACK and now >= rollout.entered_at + reaction.hold:
        return _end(rollout, failed)
    return None


def next_look_or_wait(rollout: Rollout, policy: Policy, look: StageLook, now: float, ends: Iterable[float]) -> Action:
    """The next look when it is due, otherwise a wait until something can change.

    Args:
        rollout: The rollout.
        policy: Its policy.
        look: What its stage asks.
        now: Time [Unix seconds].
        ends: Times at which a look of that moment is needed [Unix seconds].
    """
    again = min((rollout.looked_at + look.every, *ends))
    if now >= again:
        asked = max(rollout.look, 1) + 1
        everything = (*look.gates, *look.armed)
        return JudgeGates(look.kind, everything, asked, look.since, look.level_at(rollout, asked, now))
    # Looking is one thing, acting another: a hold ends when it says, whatever the time of the next look.
    moments = (rollout.entered_at + look.hold, rollout.entered_at + policy.on[Outcome.FAIL].hold)
    return WaitUntil(min((again, *(end for end in moments if end > now))), f"{rollout.stage}: next look")


def enter_next_stage(ledger: Ledger, rollout: Rollout, policy: Policy, now: float, reason: str) -> Action | None:
    """What follows a stage that was passed: the next one, or Holding where a pause or a freeze forbids that.

    None where the rollout stays where it is.
    """
    stage, step = next_place(policy, rollout.stage, rollout.step)
    if stage is Stage.PROMOTED:
        ended = RolloutEnded(rollout.opened.rollout, stage, "baked: every gate passed to the end")
        return None if rollout.held else RecordEvent(ended)
    if why := _hold_reason(ledger, rollout, stage, now):
        passed = place_index(policy, rollout.stage, rollout.step)
        told = rollout.stage is Stage.HOLDING and rollout.reason == why
        return None if told else _enter(rollout, Stage.HOLDING, passed, why)
    entered = _asked_approval(ledger, policy, step) if stage is Stage.AWAITING_APPROVAL else reason
    return _enter(rollout, stage, step, entered)


def _hold_reason(ledger: Ledger, rollout: Rollout, stage: Stage, now: float) -> str:
    """Why a rollout may not enter a stage now; empty when it may."""
    if rollout.held is not None:
        return f"paused: {rollout.held.reason}; 'surefoot resume {ledger.model}' lets it go on"
    frozen = () if rollout.overridden or stage not in _FROZEN_STAGES else ledger.freezes.in_force(now)
    return f"frozen: {frozen[0].reason}" if frozen else ""


def _asked_approval(ledger: Ledger, policy: Policy, step: int) -> str:
    """Who has to approve an approve step, and by which command."""
    asked = policy.approvals[step]
    people = "1 person" if asked.quorum == 1 else f"{asked.quorum} people"
    return f"{people} of group '{asked.by}' must approve: surefoot approve {ledger.model}"


def _deadlines(rollout: Rollout, policy: Policy, needed: Iterable[Verdict], free: float) -> tuple[float, ...]:
    """When the waits end that have begun and that only a look of that moment can end; infinity when there is none."""
    ends = (free + policy.on[verdict.outcome].hold for verdict in needed if verdict.outcome is not Outcome.PASS)
    return (math.inf, *(end for end in ends if end > max(rollout.asked_at, rollout.looked_at)))


def _enter(rollout: Rollout, stage: Stage, step: int, reason: str) -> Action:
    return RecordEvent(StageEntered(rollout.opened.rollout, stage, step, reason))


def _end(rollout: Rollout, verdict: Verdict) -> Action:
    terminal_stage = Stage.REJECTED if rollout.is_before_traffic else Stage.ROLLED_BACK
    reason = f"{verdict.gate} is {verdict.outcome}: {verdict.reason}"
    return RecordEvent(EndDecided(rollout.opened.rollout, terminal_stage, verdict.gate, reason))
