"""Decide the next action of a rollout, as a pure function of journal state, policy and time."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from surefoot.core.actions import (
    AbandonEffect,
    Action,
    ApplyEffect,
    CheckpointData,
    FinishEffect,
    JudgeGates,
    NoRollout,
    RecordEvent,
    WaitUntil,
)
from surefoot.core.domain import EvidenceKind, Outcome, Role, RolloutKind, Stage, Verdict
from surefoot.core.journal.events import (
    Effect,
    EndDecided,
    Paused,
    RolloutEnded,
    SetAlias,
    SetSplit,
    StageEntered,
)
from surefoot.core.journal.ledger import Ledger, Rollout
from surefoot.core.judging.thresholds import DecisionThresholds, allowed_margin_multiple
from surefoot.core.planning.error_budget import alpha_per_guardrail, alpha_per_shadow_gate
from surefoot.core.policy.gates.implicit import CORNERS_GATE, DATA_GATE, SHAPE_GATE
from surefoot.core.policy.policy_types import (
    REPLAY_EVALUATION_INTERVAL_S,
    FailureAction,
    Gate,
    LiveShadow,
    Policy,
)
from surefoot.core.rollback.bundle_effects import forward_config_effects
from surefoot.core.rollback.rollback_effects import (
    alternative_rollback_target,
    rollback_effects,
    rollout_end_effects,
    undo_effects,
)
from surefoot.core.rollback.stepped_rollback import next_rollback_step, rollback_is_aborted
from surefoot.core.tables.checkpoint_choice import next_checkpoint

_TIME_TOLERANCE_S = 1e-3
"""Times of day and spans of time are rounded differently [seconds]."""
_MAX_LOOK_AGE_INTERVALS = 3.0
"""A look that is this many intervals old is repeated before anything is decided on it."""


def decide_action(ledger: Ledger, policy: Policy | None, now: float) -> Action:
    """The next action; a rollback needs no policy, and is judged by no gate without one."""
    rollout = ledger.rollout
    if ledger.intent:
        seq, effect = ledger.intent
        if rollout and rollout.ending and effect not in rollout_end_effects(ledger, rollout):
            return AbandonEffect(seq)
        if rollout and isinstance(effect, SetSplit) and effect.is_live_drill:
            return AbandonEffect(seq)  # a rollout never waits for a drill
        return FinishEffect(seq, effect)
    if rollout is None:
        return NoRollout()
    if changed := alternative_rollback_target(ledger, rollout):
        return RecordEvent(changed)
    if rollout.opened.kind == RolloutKind.ROLLBACK:
        if rollback_is_aborted(rollout):
            return _finish(rollout, rollout_end_effects(ledger, rollout), Stage.ABORTED, rollout.reason)
        if step := next_rollback_step(rollout, policy, now):
            return step
        if SetSplit(rollout.rollback_target, None, 0.0) in rollout.refused:
            reason = f"version {rollout.rollback_target.number} cannot be served: name another one with --to"
            return RecordEvent(RolloutEnded(ledger.open, Stage.ABORTED, reason))
        return _finish(rollout, rollback_effects(ledger, rollout), Stage.FAST_ROLLED_BACK, rollout.opened.reason)
    if rollout.ending:
        return _finish(rollout, undo_effects(ledger, rollout), rollout.ending.terminal_stage, rollout.ending.reason)
    if rollout.drifted or _blocked(rollout):
        return RecordEvent(EndDecided(ledger.open, Stage.ABORTED, "", f"it could not go on: {rollout.reason}"))
    return _forward(ledger, rollout, policy, now) if policy else NoRollout()


def _forward(ledger: Ledger, rollout: Rollout, policy: Policy, now: float) -> Action:
    match rollout.stage:
        case Stage.SUBMITTED:
            return _enter(rollout, Stage.VALIDATING, 0, "data first")
        case Stage.VALIDATING:
            following = (Stage.SHADOWING, 0) if policy.shadow else _after_replay(policy)
            since = rollout.opened_at - policy.suite_window
            first = (DATA_GATE,) if policy.reshaped else (DATA_GATE, SHAPE_GATE)
            look = _Look(EvidenceKind.DATA, first, (), 0.0, since, DecisionThresholds(), policy.suite_every)
            return _judged(rollout, policy, look, following, now)
        case Stage.SHADOWING:
            shadow = policy.shadow
            names = shadow.gates if shadow else ()
            level = DecisionThresholds(alpha_per_shadow_gate(policy), min_requests=shadow.min_requests if shadow else 0)
            since = rollout.opened_at - (shadow.window if shadow else 0.0)
            gates = (*(policy.gates[name] for name in names), *(() if policy.corners is None else (CORNERS_GATE,)))
            every = shadow.every if shadow else REPLAY_EVALUATION_INTERVAL_S
            return _judged(
                rollout,
                policy,
                _Look(EvidenceKind.SHADOW, gates, (), 0.0, since, level, every),
                _after_replay(policy),
                now,
            )
        case Stage.LIVE_SHADOWING if policy.live_shadow:
            return _mirror(rollout, policy, policy.live_shadow, now)
        case Stage.RAMPING:
            return _ramp(rollout, policy, now)
        case Stage.PROMOTING:
            if written := _next(rollout, forward_config_effects(rollout)):  # where no ramp has
                return written
            table = next_checkpoint(ledger, rollout, policy)
            if table is not None and not isinstance(table, str):
                return CheckpointData(table)
            if table is not None:
                return RecordEvent(EndDecided(ledger.open, Stage.ABORTED, "", table))
            effects = _promotion(rollout)
            return _next(rollout, effects) or _enter(rollout, Stage.BAKING, 0, "serving everything, still watched")
        case Stage.BAKING:
            bake = policy.bake
            gates = tuple(policy.gates[name] for name in bake.gates)
            level = DecisionThresholds(alpha_per_guardrail(policy, bake.gates), forever=True, lasts=bake.hold)
            look = _Look(EvidenceKind.BAKE, gates, (), bake.hold, rollout.entered_at, level, bake.every)
            return _judged(rollout, policy, look, (Stage.PROMOTED, 0), now)
        case _:
            return NoRollout()


@dataclass(frozen=True, slots=True)
class _Look:
    """What a stage asks: gates that must pass, gates that are merely armed, for how long and how often."""

    kind: EvidenceKind
    gates: tuple[Gate, ...]
    armed: tuple[Gate, ...]
    hold: float
    since: float
    level: DecisionThresholds
    every: float


def _after_replay(policy: Policy) -> tuple[Stage, int]:
    """The stage that follows the replay, or the validation where nothing is replayed."""
    return (Stage.LIVE_SHADOWING, 0) if policy.live_shadow else _after_shadows(policy)


def _after_shadows(policy: Policy) -> tuple[Stage, int]:
    """The stage that follows the shadows: the ramp, or the promotion where the engine moves all traffic at once."""
    return (Stage.RAMPING, 0) if policy.ramp else (Stage.PROMOTING, 0)


def _mirror(rollout: Rollout, policy: Policy, step: LiveShadow, now: float) -> Action:
    """Mirror first, then look; the champion answers every caller."""
    if first := _next(rollout, forward_config_effects(rollout)):
        return first
    wanted = SetSplit(rollout.opened.champion, rollout.opened.candidate, 0.0, step.share)
    if wanted not in rollout.done:
        return ApplyEffect(wanted)
    shape = () if policy.reshaped else (SHAPE_GATE,)
    gates = (*(policy.gates[name] for name in step.gates), *shape)
    level = DecisionThresholds(alpha_per_shadow_gate(policy), min_requests=step.min_requests)
    look = _Look(EvidenceKind.LIVE_SHADOW, gates, (), step.hold, rollout.entered_at, level, step.every)
    return _judged(rollout, policy, look, _after_shadows(policy), now)


def _ramp(rollout: Rollout, policy: Policy, now: float) -> Action:
    step = policy.ramp[rollout.step]
    if first := _next(rollout, forward_config_effects(rollout)):
        return first
    wanted = SetSplit(rollout.opened.champion, rollout.opened.candidate, step.weight)
    if wanted not in rollout.done:
        return ApplyEffect(wanted)
    earlier = {name for item in policy.ramp[: rollout.step + 1] for name in item.gates}
    gates = tuple(policy.gates[name] for name in step.gates)
    armed = tuple(gate for name, gate in policy.gates.items() if name in earlier and gate not in gates)
    ramped = [name for item in policy.ramp for name in item.gates]
    level = DecisionThresholds(
        alpha_per_guardrail(policy, ramped),
        allowance=allowed_margin_multiple(step.weight),
        min_requests=step.min_requests,
        stages=len(policy.ramp),
        weight=step.weight,
    )
    last = rollout.step + 1 >= len(policy.ramp)
    following = (Stage.PROMOTING, 0) if last else (Stage.RAMPING, rollout.step + 1)
    look = _Look(EvidenceKind.LIVE, gates, armed, step.hold, rollout.entered_at, level, step.every)
    return _judged(rollout, policy, look, following, now)


def _judged(rollout: Rollout, policy: Policy, look: _Look, following: tuple[Stage, int], now: float) -> Action:
    """Look, react, wait, and go on when every gate passes and the hold is over."""
    everything = (*look.gates, *look.armed)
    asked = max(rollout.look, 1)
    over = rollout.entered_at + look.hold
    level = replace(
        look.level,
        look=asked,
        late=1 + (look.hold > 0.0 and now >= over) + int(max(now - over, 0.0) // look.every),
        elapsed=max(now - rollout.entered_at, 0.0),
        overdue=max(now - over, 0.0),
        per_minute=policy.requests_per_minute,
    )
    missing = tuple(gate for gate in everything if rollout.look == 0 or gate.name not in rollout.verdicts)
    if missing:
        return JudgeGates(look.kind, missing, asked, look.since, level)
    if now - rollout.looked_at > _MAX_LOOK_AGE_INTERVALS * look.every:
        # No look was taken for a while (a scheduler was down): what was true then decides nothing now.
        return JudgeGates(look.kind, everything, asked + 1, look.since, replace(level, look=asked + 1))
    verdicts = [rollout.verdicts[gate.name] for gate in everything]
    needed = [rollout.verdicts[gate.name] for gate in look.gates]
    failed = next((v for v in verdicts if v.outcome is Outcome.FAIL and v.role is Role.GUARDRAIL), None)
    if failed:
        reaction = policy.on[Outcome.FAIL]
        if reaction.then is FailureAction.ROLLBACK and now >= rollout.entered_at + reaction.hold:
            return _end(rollout, failed)
        stuck: Verdict | None = failed
    else:
        if all(v.outcome is Outcome.PASS for v in needed) and now >= over:
            return _advance(rollout, following)
        stuck = next((v for v in needed if v.outcome is not Outcome.PASS), None)
        # Measuring takes time of its own: only what was asked after the wait was over says that it was in vain.
        waited = [v for v in needed if v.outcome is not Outcome.PASS]
        late = [v for v in waited if rollout.asked_at >= over + policy.on[v.outcome].hold - _TIME_TOLERANCE_S]
        expelled = next(
            (v for v in late if v.role is Role.GUARDRAIL and policy.on[v.outcome].then is FailureAction.ROLLBACK), None
        )
        if expelled:
            return _end(rollout, expelled)
        stuck = late[0] if late else None
    if stuck and rollout.paused is None:
        return RecordEvent(Paused(rollout.opened.rollout, stuck.outcome, stuck.gate, stuck.reason))
    again = min(rollout.looked_at + look.every, *_deadlines(rollout, policy, needed, over))
    if now >= again:
        return JudgeGates(look.kind, everything, asked + 1, look.since, replace(level, look=asked + 1))
    # Looking is one thing, acting another: a hold ends when it says, whatever the time of the next look.
    ends = (over, rollout.entered_at + policy.on[Outcome.FAIL].hold)
    return WaitUntil(min((again, *(end for end in ends if end > now))), f"{rollout.stage}: next look")


def _deadlines(rollout: Rollout, policy: Policy, needed: Iterable[Verdict], over: float) -> tuple[float, ...]:
    """When the waits end that have begun and that only a look of that moment can end; infinity when there is none."""
    ends = (over + policy.on[verdict.outcome].hold for verdict in needed if verdict.outcome is not Outcome.PASS)
    return (math.inf, *(end for end in ends if end > max(rollout.asked_at, rollout.looked_at)))


def gate_evaluation_interval(rollout: Rollout, policy: Policy) -> float:
    """Time between two looks in the stage that a rollout stands in [seconds]; infinity where nothing is judged."""
    match rollout.stage:
        case Stage.VALIDATING:
            return policy.suite_every
        case Stage.SHADOWING:
            return policy.shadow.every if policy.shadow else math.inf
        case Stage.LIVE_SHADOWING:
            return policy.live_shadow.every if policy.live_shadow else math.inf
        case Stage.RAMPING:
            return policy.ramp[rollout.step].every
        case Stage.BAKING:
            return policy.bake.every
        case _:
            return math.inf


def _advance(rollout: Rollout, following: tuple[Stage, int]) -> Action:
    stage, step = following
    if stage is Stage.PROMOTED:
        return RecordEvent(RolloutEnded(rollout.opened.rollout, stage, "baked: every gate passed to the end"))
    return _enter(rollout, stage, step, "every gate passed")


def _enter(rollout: Rollout, stage: Stage, step: int, reason: str) -> Action:
    return RecordEvent(StageEntered(rollout.opened.rollout, stage, step, reason))


def _end(rollout: Rollout, verdict: Verdict) -> Action:
    terminal_stage = Stage.REJECTED if rollout.stage.is_before_traffic else Stage.ROLLED_BACK
    reason = f"{verdict.gate} is {verdict.outcome}: {verdict.reason}"
    return RecordEvent(EndDecided(rollout.opened.rollout, terminal_stage, verdict.gate, reason))


def _promotion(rollout: Rollout) -> tuple[Effect, ...]:
    """`previous` first, then `champion` (the commit point), then all traffic, then the request is answered."""
    old, new = rollout.opened.champion, rollout.opened.candidate
    return (
        SetAlias("previous", old.number, None),
        SetAlias("champion", new.number, old.number),
        SetSplit(new, None, 0.0),
        SetAlias("candidate", None, new.number),
    )


def _next(rollout: Rollout, effects: tuple[Effect, ...]) -> Action | None:
    todo = (effect for effect in effects if effect not in rollout.done and effect not in rollout.refused)
    return next((ApplyEffect(effect) for effect in todo), None)


def _finish(rollout: Rollout, effects: tuple[Effect, ...], terminal_stage: Stage, reason: str) -> Action:
    return _next(rollout, effects) or RecordEvent(RolloutEnded(rollout.opened.rollout, terminal_stage, reason))


def _blocked(rollout: Rollout) -> bool:
    """Whether an effect that the rollout cannot do without was refused."""
    return any(not isinstance(effect, SetAlias) or effect.alias == "champion" for effect in rollout.refused)
