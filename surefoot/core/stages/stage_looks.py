"""Define the look of each rollout stage: which gates it judges, and how often."""

import math
from dataclasses import dataclass, replace

from surefoot.core.domain import EvidenceKind, Stage
from surefoot.core.judging.thresholds import DecisionThresholds, choose_margin_multiple
from surefoot.core.planning.alpha_per_gate import compute_alpha_per_guardrail, compute_alpha_per_shadow_gate
from surefoot.core.policy.gates.implicit import ANSWER_SHAPE_GATE, CORNERS_GATE, DATA_GATE
from surefoot.core.policy.policy_types import REPLAY_EVALUATION_INTERVAL_S, Gate, Policy
from surefoot.core.stages.rollout_state import Rollout
from surefoot.core.stages.stage_places import has_place, judged_place


@dataclass(frozen=True, slots=True)
class StageLook:
    """What a stage asks: gates that must pass, gates that are merely armed, for how long and how often.

    Attributes:
        kind: Where the evidence comes from.
        gates: Gates that must pass.
        armed: Gates of earlier steps, which must not fail.
        hold: Shortest time of the stage [seconds].
        since: Start of the evidence window [Unix seconds].
        level: How sure each verdict must be.
        every: Time between two looks [seconds].
    """

    kind: EvidenceKind
    gates: tuple[Gate, ...]
    armed: tuple[Gate, ...]
    hold: float
    since: float
    level: DecisionThresholds
    every: float

    def level_at(self, rollout: Rollout, asked: int, now: float) -> DecisionThresholds:
        """How sure the verdicts of a look must be.

        While a rollout waits, no pass counts, so that none is spent: these looks are as sure as the one that passed.

        Args:
            rollout: The rollout.
            asked: Number of the look.
            now: Time [Unix seconds].
        """
        over = rollout.entered_at + self.hold
        counted = rollout.waiting_since or now
        return replace(
            self.level,
            look=asked,
            late=1 + (self.hold > 0.0 and counted >= over) + int(max(counted - over, 0.0) // self.every),
            elapsed=max(now - rollout.entered_at, 0.0),
            overdue=max(counted - over, 0.0),
        )


def stage_look(rollout: Rollout, policy: Policy) -> StageLook | None:
    """What the stage of a rollout asks, or the stage before it began to wait; None where nothing is judged."""
    if rollout.stage is Stage.SUBMITTED or not has_place(policy, rollout.stage, rollout.step):
        return None
    stage, step = judged_place(policy, rollout.stage, rollout.step)
    match stage:
        case Stage.VALIDATING:
            first = (DATA_GATE,) if policy.reshaped else (DATA_GATE, ANSWER_SHAPE_GATE)
            since = rollout.opened_at - policy.suite_window
            found = StageLook(EvidenceKind.DATA, first, (), 0.0, since, DecisionThresholds(), policy.suite_every)
        case Stage.SHADOWING:
            found = _shadow_look(rollout, policy)
        case Stage.LIVE_SHADOWING:
            found = _live_shadow_look(rollout, policy)
        case Stage.RAMPING:
            found = _ramp_look(rollout, policy, step)
        case Stage.BAKING:
            bake = policy.bake
            gates = tuple(policy.gates[name] for name in bake.gates)
            level = DecisionThresholds(compute_alpha_per_guardrail(policy, bake.gates), forever=True, lasts=bake.hold)
            found = StageLook(EvidenceKind.BAKE, gates, (), bake.hold, rollout.entered_at, level, bake.every)
        case _:
            return None
    return replace(found, level=replace(found.level, per_minute=policy.requests_per_minute))


def _shadow_look(rollout: Rollout, policy: Policy) -> StageLook:
    shadow = policy.shadow
    names = shadow.gates if shadow else ()
    level = DecisionThresholds(compute_alpha_per_shadow_gate(policy), min_requests=shadow.min_requests if shadow else 0)
    since = rollout.opened_at - (shadow.window if shadow else 0.0)
    gates = (*(policy.gates[name] for name in names), *(() if policy.corners is None else (CORNERS_GATE,)))
    every = shadow.every if shadow else REPLAY_EVALUATION_INTERVAL_S
    return StageLook(EvidenceKind.SHADOW, gates, (), 0.0, since, level, every)


def _live_shadow_look(rollout: Rollout, policy: Policy) -> StageLook:
    step = policy.live_shadow
    shape = () if policy.reshaped else (ANSWER_SHAPE_GATE,)
    gates = (*(policy.gates[name] for name in (step.gates if step else ())), *shape)
    level = DecisionThresholds(compute_alpha_per_shadow_gate(policy), min_requests=step.min_requests if step else 0)
    hold, every = (step.hold, step.every) if step else (0.0, math.inf)
    return StageLook(EvidenceKind.LIVE_SHADOW, gates, (), hold, rollout.entered_at, level, every)


def _ramp_look(rollout: Rollout, policy: Policy, number: int) -> StageLook:
    step = policy.ramp[number]
    earlier = {name for item in policy.ramp[: number + 1] for name in item.gates}
    gates = tuple(policy.gates[name] for name in step.gates)
    armed = tuple(gate for name, gate in policy.gates.items() if name in earlier and gate not in gates)
    ramped = [name for item in policy.ramp for name in item.gates]
    level = DecisionThresholds(
        compute_alpha_per_guardrail(policy, ramped),
        allowance=choose_margin_multiple(step.weight),
        min_requests=step.min_requests,
        stages=len(policy.ramp),
        weight=step.weight,
    )
    return StageLook(EvidenceKind.LIVE, gates, armed, step.hold, rollout.entered_at, level, step.every)
