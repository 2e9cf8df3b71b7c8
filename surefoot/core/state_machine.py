"""Decide the next action of a rollout from journal state, policy and time."""

import math

from surefoot.core.actions import (
    AbandonEffect,
    Action,
    ApplyEffect,
    CheckpointData,
    FinishEffect,
    NoRollout,
    RecordEvent,
)
from surefoot.core.domain import RolloutKind, Stage
from surefoot.core.journal.events import (
    Effect,
    EndDecided,
    RolloutEnded,
    SetAlias,
    SetSplit,
    StageEntered,
)
from surefoot.core.journal.ledger import Ledger, Rollout
from surefoot.core.policy.policy_types import Policy
from surefoot.core.rollback.config_file_effects import promotion_config_effects
from surefoot.core.rollback.rollback_effects import (
    alternative_rollback_target,
    rollback_effects,
    rollout_end_effects,
    undo_effects,
)
from surefoot.core.rollback.stepped_rollback import next_rollback_step, rollback_is_aborted
from surefoot.core.stages.judged_stage import judge_stage
from surefoot.core.stages.stage_looks import stage_look
from surefoot.core.stages.stage_places import WAITING_STAGES, has_place, stage_places
from surefoot.core.stages.waiting_stage import wait_in_place
from surefoot.core.tables.checkpoint_choice import next_checkpoint


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
    if rollout.stage is Stage.SUBMITTED:
        stage, step = stage_places(policy)[0]
        return RecordEvent(StageEntered(rollout.opened.rollout, stage, step, "data first"))
    if not has_place(policy, rollout.stage, rollout.step):
        reason = f"its journal says {rollout.stage}, step {rollout.step}, which its policy does not have"
        return RecordEvent(EndDecided(rollout.opened.rollout, Stage.ABORTED, "", reason))
    if rollout.stage is Stage.PROMOTING:
        return _promote(ledger, rollout, policy)
    if rollout.stage in {Stage.LIVE_SHADOWING, Stage.RAMPING} and (first := _shift_traffic(rollout, policy)):
        return first
    look = stage_look(rollout, policy)
    if look is None:
        return NoRollout()
    decide = wait_in_place if rollout.stage in WAITING_STAGES else judge_stage
    return decide(ledger, rollout, policy, look, now)


def _shift_traffic(rollout: Rollout, policy: Policy) -> Action | None:
    """Write the candidate's files and give it its share before its gates are judged; None where that is done."""
    if first := _next(rollout, promotion_config_effects(rollout)):
        return first
    weight, mirror = 0.0, 0.0
    if rollout.stage is Stage.RAMPING:
        weight = policy.ramp[rollout.step].weight
    elif policy.live_shadow:
        mirror = policy.live_shadow.share  # the champion answers every caller
    wanted = SetSplit(rollout.opened.champion, rollout.opened.candidate, weight, mirror)
    return None if wanted in rollout.done else ApplyEffect(wanted)


def _promote(ledger: Ledger, rollout: Rollout, policy: Policy) -> Action:
    """Checkpoint the tables, then move aliases and traffic."""
    if written := _next(rollout, promotion_config_effects(rollout)):  # where no ramp has
        return written
    table = next_checkpoint(ledger, rollout, policy)
    if table is not None and not isinstance(table, str):
        return CheckpointData(table)
    if table is not None:
        return RecordEvent(EndDecided(ledger.open, Stage.ABORTED, "", table))
    baking = StageEntered(rollout.opened.rollout, Stage.BAKING, 0, "serving everything, still watched")
    return _next(rollout, _promotion(rollout)) or RecordEvent(baking)


def gate_evaluation_interval(rollout: Rollout, policy: Policy) -> float:
    """Time between two looks in the stage that a rollout stands in [seconds]; infinity where nothing is judged."""
    look = stage_look(rollout, policy)
    return math.inf if look is None else look.every


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
