"""Plan the steps of a policy: estimate the smallest harm that each gate can detect in each step."""

from dataclasses import replace

from surefoot.core.domain import Outcome
from surefoot.core.judging.thresholds import DecisionThresholds, choose_margin_multiple
from surefoot.core.planning.alpha_per_gate import compute_alpha_per_guardrail, compute_alpha_per_shadow_gate
from surefoot.core.planning.detectability import Detectability
from surefoot.core.planning.distinct_units import distinct_units
from surefoot.core.planning.live_gates import LiveStepConditions, TrafficSplitPeriod, plan_live_gate
from surefoot.core.planning.paired_and_shift_gates import (
    plan_gauge_gate,
    plan_paired_binary_gate,
    plan_paired_gate,
    plan_shift_gate,
)
from surefoot.core.policy.policy_types import (
    BadEventGate,
    ErrorRateGate,
    Gate,
    GaugeGate,
    MeasurementGate,
    PairedGate,
    Policy,
    ShiftGate,
    ValueGate,
)

_PASS_LEVEL = 0.05
"""Level at which a gate passes [probability]."""


def plan_policy(policy: Policy) -> tuple[Detectability, ...]:
    """What each gate can and cannot detect, in the order of the steps.

    Law: a pure function of the policy. Events and values of a unit that comes back count once, where the policy says
        how many units there are; what is served adds up over the steps, for one e-process runs over the whole ramp.
    """
    return (*_shadow(policy), *_live_shadow(policy), *_ramp(policy), *_bake(policy))


def _replayed(
    policy: Policy,
    gate: Gate,
    step: str,
    window: float,
    level: DecisionThresholds,
    wanted: int,
    patience: float = 0.0,
    share: float = 1.0,
) -> Detectability | None:
    """A gate on requests that both versions answer, a share of all; None for what is exact, such as golden rows."""
    a_second = policy.requests_per_minute / 60.0 * share
    if isinstance(gate, PairedGate) and not gate.block:
        return plan_paired_binary_gate(gate, step, window, patience, level, a_second)
    if isinstance(gate, PairedGate):
        return plan_paired_gate(gate, step, window, patience, level, wanted, a_second)
    if isinstance(gate, ShiftGate):
        return plan_shift_gate(gate, step, window, level, a_second * window)
    if isinstance(gate, ErrorRateGate | MeasurementGate):
        both = (TrafficSplitPeriod(0.5, 2.0 * a_second * window),)
        return plan_live_gate(gate, LiveStepConditions(step, both, 2.0 * a_second, window, "answers", level.alpha))
    return None


def _shadow(policy: Policy) -> list[Detectability]:
    shadow = policy.shadow
    if shadow is None:
        return []
    level = DecisionThresholds(compute_alpha_per_shadow_gate(policy))
    gates = [policy.gates[name] for name in shadow.gates]
    found = [
        _replayed(policy, gate, "shadow", shadow.window, level, shadow.min_requests, _patience(policy))
        for gate in gates
    ]
    return [sight for sight in found if sight is not None]


def _live_shadow(policy: Policy) -> list[Detectability]:
    step = policy.live_shadow
    if step is None:
        return []
    share, patience, name = step.share / 100.0, _patience(policy), "live shadow"
    level = DecisionThresholds(compute_alpha_per_shadow_gate(policy))
    made = []
    for gate in (policy.gates[key] for key in step.gates):
        if isinstance(gate, GaugeGate):
            made.append(plan_gauge_gate(gate, name, step.hold, patience, level))
        elif sight := _replayed(policy, gate, name, step.hold, level, step.min_requests, patience, share):
            made.append(sight)
    in_time = policy.requests_per_minute / 60.0 * share * (step.hold + patience)
    if step.min_requests > in_time:
        short = f"demands {step.min_requests:,} mirrored requests, but only about {in_time:,.0f} come in time"
        return [replace(sight, warning=short) for sight in made]
    return made


def _patience(policy: Policy) -> float:
    """How long a step is prolonged while nothing is decided [seconds]."""
    return policy.on[Outcome.INCONCLUSIVE].hold


def _ramp(policy: Policy) -> list[Detectability]:
    alpha = compute_alpha_per_guardrail(policy, [name for step in policy.ramp for name in step.gates])
    a_second = policy.requests_per_minute / 60.0
    patience = _patience(policy)
    made, passed = [], 0.0
    before: list[tuple[float, float]] = []  # (share, seconds) of the steps until now
    for step in policy.ramp:
        before.append((step.weight / 100.0, step.hold))
        passed += step.hold
        name = f"weight {step.weight:g} %"
        for gate in (policy.gates[name_] for name_ in step.gates):
            if isinstance(gate, GaugeGate):
                made.append(plan_gauge_gate(gate, name, passed, patience, DecisionThresholds(alpha)))
            elif isinstance(gate, PairedGate | ShiftGate):
                # What both are asked about begins anew with each step, so its length is all there is to see.
                level = DecisionThresholds(alpha, stages=len(policy.ramp))
                sight = _replayed(policy, gate, name, step.hold, level, step.min_requests, patience)
                made += [] if sight is None else [sight]
            elif isinstance(gate, BadEventGate | MeasurementGate | ValueGate):
                sticks = policy.unit is not None
                # A unit that comes back moves to the split of the moment: what the later steps see it has first.
                whole = distinct_units(a_second * passed, policy.units if sticks else 0.0)
                scale = whole / (a_second * passed) if passed else 1.0
                served_so_far = tuple(
                    TrafficSplitPeriod(share, a_second * seconds * scale) for share, seconds in before
                )
                trial = "units" if sticks else "requests"
                asked = LiveStepConditions(
                    step=name,
                    periods=served_so_far,
                    a_second=a_second * scale,
                    lasts=step.hold,
                    trial=trial,
                    alpha=alpha,
                    beta=_PASS_LEVEL,
                    allowance=choose_margin_multiple(step.weight),
                    wanted=step.min_requests,
                    patience=patience,
                )
                seen = plan_live_gate(gate, asked)
                if sticks and not policy.units:
                    counted = "counting each request as another unit (traffic: {units: ...})"
                    seen = replace(seen, assumes="; ".join(filter(None, (seen.assumes, counted))))
                made.append(seen)
    return made


def _bake(policy: Policy) -> list[Detectability]:
    alpha = compute_alpha_per_guardrail(policy, policy.bake.gates)
    a_second = policy.requests_per_minute / 60.0
    hold = policy.bake.hold
    # Half of the level is for the latest blocks alone.
    level = DecisionThresholds(alpha / 2.0, elapsed=0.0, forever=True, lasts=hold)
    made = []
    for gate in (policy.gates[name] for name in policy.bake.gates):
        if isinstance(gate, BadEventGate | MeasurementGate):
            periods = (TrafficSplitPeriod(1.0, a_second * hold),)
            made.append(
                plan_live_gate(
                    gate, LiveStepConditions("bake", periods, a_second, hold, "requests", alpha, forever=True)
                )
            )
        elif sight := _replayed(policy, gate, "bake", hold, level, 0, _patience(policy)):
            made.append(sight)
    return made
