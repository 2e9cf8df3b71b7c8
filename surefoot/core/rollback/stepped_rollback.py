"""Decide the steps of a rollback that moves traffic back in steps, and whether it waits or is aborted."""

import math

from surefoot.core.actions import Action, ApplyEffect, JudgeGates, RecordEvent, WaitUntil
from surefoot.core.assignment import describe_candidate_share
from surefoot.core.domain import PROMOTED_STAGES, EvidenceKind, Outcome, Role, RolloutKind, Stage, Verdict, Version
from surefoot.core.durations import format_duration
from surefoot.core.journal.events import Paused, SetSplit, StageEntered
from surefoot.core.journal.ledger import Ledger, Rollout
from surefoot.core.journal.rollback_schedule import RollbackSchedule
from surefoot.core.judging.thresholds import DecisionThresholds, choose_margin_multiple
from surefoot.core.policy.policy_types import Policy
from surefoot.core.policy.recovery.rollback import RollbackSection

_LOOKS_PER_STEP = 4
"""Looks at the gates in the time of a step [count]."""
_SHORTEST_INTERVAL_S = 5.0
"""Shortest time between two looks, except the one at the end of a step [seconds]."""
_HELD_INTERVAL_S = 300.0
"""Shortest time between two looks while a person is waited for [seconds]."""
_TIME_TOLERANCE_S = 1e-3
"""Times of day and spans of time are rounded differently [seconds]."""


def rollback_is_aborted(rollout: Rollout) -> bool:
    """Whether a stepped rollback was aborted: traffic goes back to the version that was to be taken back."""
    aborted = rollout.ending is not None and rollout.ending.terminal_stage is Stage.ABORTED
    return aborted and rollout.opened.kind == RolloutKind.ROLLBACK


def is_rolling_back_in_steps(ledger: Ledger, rollout: Rollout) -> bool:
    """Whether a stepped rollback still shares the traffic: it can be aborted, or finished at once."""
    final = SetSplit(rollout.rollback_target, None, 0.0)
    intended = ledger.intent is not None and ledger.intent[1] == final
    return rollout.opened.stepped is not None and not _moved_all(rollout) and not intended


def waits_for_person(rollout: Rollout | None) -> bool:
    """Whether a stepped rollback waits for a person, because a gate of the proven-good version fails."""
    stepped = rollout is not None and rollout.opened.stepped is not None and rollout.ending is None
    return stepped and rollout is not None and rollout.paused is not None and _failed(rollout) is not None


def rollback_steps(
    section: RollbackSection, gates: tuple[str, ...], mode: str | None, outside: str
) -> tuple[RollbackSchedule | None, str]:
    """The steps of a rollback, or None where it goes at once; and why.

    Args:
        section: What the policy says.
        gates: Names of the gates that must not fail.
        mode: "immediate" or "stepped" where a person has asked for it; None for what the policy says.
        outside: Why the target is outside of the window; empty when it is inside.
    """
    cohort = section.cohort
    steps = RollbackSchedule(section.weights, section.hold, gates)
    if cohort is not None:
        steps = RollbackSchedule((cohort.weight, *section.weights), section.hold, gates, cohort.hold, cohort.units)
    if mode is not None:
        return (steps, "asked for step by step") if mode == "stepped" else (None, "asked for at once")
    if section.mode != "stepped":
        return None, ""
    if section.window is not None and not outside:
        return None, "the target is inside rollback.window"
    return steps, outside or "the policy says rollback.mode: stepped"


def outside_rollback_window_reason(
    ledger: Ledger, section: RollbackSection, target: Version, last_served: float | None, now: float
) -> str:
    """Why a target is outside of the policy's window; empty when it is inside, or when there is no window.

    Args:
        ledger: The model's ledger.
        section: What the policy says.
        target: The version that traffic would go back to.
        last_served: When it last answered callers [Unix seconds]; None when that is not known.
        now: The time [Unix seconds].
    """
    window = section.window
    if window is None:
        return ""
    if window.versions is not None:
        served = ledger.champion.digest if ledger.champion else ""
        earlier = [version.digest for version in reversed(ledger.proven) if version.digest != served]
        back = earlier.index(target.digest) + 1 if target.digest in earlier else len(earlier) + 1
        if back > window.versions:
            return f"outside rollback.window: {back} proven-good versions back, at most {window.versions} is inside"
    if window.age is not None:
        if last_served is None:
            return "outside rollback.window: the journal does not say when it last served"
        if now - last_served > window.age:
            age = format_duration(now - last_served)
            return f"outside rollback.window: it last served {age} ago, at most {format_duration(window.age)} is inside"
    return ""


def last_promotion_of(ledger: Ledger, champion: Version) -> Rollout | None:
    """The last promotion of a version, whose policy says how it is taken back; None for one that was adopted."""
    promoted = [item for item in ledger.attempts(champion) if item.stage in PROMOTED_STAGES]
    return promoted[-1] if promoted else None


def next_rollback_step(rollout: Rollout, policy: Policy | None, now: float) -> Action | None:
    """The next action of the steps of a rollback; None when all traffic goes back now.

    A step is widened when its time is over, unless a gate fails: a step that cannot be judged is no reason to stay
    with the version that is taken back.
    """
    plan = rollout.opened.stepped
    if plan is None or rollout.ending is not None or _moved_all(rollout):
        return None
    if rollout.stage is not Stage.RAMPING:
        return _enter(rollout, plan, 0, rollout.opened.mode_reason)
    wanted = SetSplit(rollout.opened.champion, rollout.rollback_target, plan.weights[rollout.step], units=plan.units)
    if wanted in rollout.refused:
        return None
    if wanted not in rollout.done:
        return ApplyEffect(wanted)
    gates = tuple(policy.gates[name] for name in plan.gates if name in policy.gates) if policy else ()
    hold = plan.hold_seconds(rollout.step)
    over = rollout.entered_at + hold
    interval = max(hold / _LOOKS_PER_STEP, _HELD_INTERVAL_S if rollout.paused else _SHORTEST_INTERVAL_S)
    judged_late = rollout.look > 0 and rollout.asked_at >= over - _TIME_TOLERANCE_S
    due = min(max(rollout.looked_at, rollout.entered_at) + interval, math.inf if judged_late else over)
    level = DecisionThresholds(
        policy.false_rollback_budget / len(gates) if policy and gates else 0.01,
        allowance=choose_margin_multiple(plan.weights[rollout.step]),
        look=max(rollout.look, 1),
        elapsed=max(now - rollout.entered_at, 0.0),
        overdue=max(now - over, 0.0),
        per_minute=policy.requests_per_minute if policy else 0.0,
        stages=len(plan.weights),
        weight=plan.weights[rollout.step],
    )
    missing = tuple(gate for gate in gates if gate.name not in rollout.verdicts)
    if rollout.look > 0 and missing:
        return JudgeGates(EvidenceKind.LIVE, missing, rollout.look, rollout.entered_at, level)
    failed = _failed(rollout)
    if failed is not None and rollout.paused is None:
        return RecordEvent(Paused(rollout.opened.rollout, failed.outcome, failed.gate, failed.reason))
    if failed is None and now >= over and (judged_late or not gates):
        return _enter(rollout, plan, rollout.step + 1, _why_on(rollout))
    if gates and now >= due:
        return JudgeGates(EvidenceKind.LIVE, gates, rollout.look + 1, rollout.entered_at, level)
    return WaitUntil(due if gates else over, "rollback step")


def _failed(rollout: Rollout) -> Verdict | None:
    """The guardrail that fails at the latest look."""
    found = (v for v in rollout.verdicts.values() if v.outcome is Outcome.FAIL and v.role is Role.GUARDRAIL)
    return next(found, None)


def _moved_all(rollout: Rollout) -> bool:
    """Whether all traffic has gone back: no share of it returns to the version that was taken back."""
    return any(isinstance(effect, SetSplit) and effect.candidate is None for effect in rollout.done)


def _enter(rollout: Rollout, plan: RollbackSchedule, step: int, reason: str) -> Action | None:
    if step >= len(plan.weights):
        return None
    share, hold = describe_candidate_share(plan.weights[step], plan.units), format_duration(plan.hold_seconds(step))
    said = f"version {rollout.rollback_target.number} answers {share} of the units for {hold}: {reason}"
    return RecordEvent(StageEntered(rollout.opened.rollout, Stage.RAMPING, step, said))


def _why_on(rollout: Rollout) -> str:
    """Why a step is widened, with the gates that could not say."""
    unsure = [f"{v.gate} {v.outcome}" for v in rollout.verdicts.values() if v.outcome is not Outcome.PASS]
    if not rollout.verdicts:
        return "its time is over, and no gate judges it"
    return f"its time is over, and no gate fails ({', '.join(unsure)})" if unsure else "every gate passed"
