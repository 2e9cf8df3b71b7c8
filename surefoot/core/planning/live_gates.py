"""Compute the smallest harm that a gate on live traffic can detect in a rollout step."""

import math
from dataclasses import dataclass

from surefoot.core.gates.bad_event_rate import MAX_EPOCHS
from surefoot.core.planning.detectability import PLAN_POWER, Detectability, find_smallest_detectable_harm
from surefoot.core.planning.evidence_growth import estimate_evidence_growth
from surefoot.core.policy.policy_types import Gate, MeasurementGate
from surefoot.core.stats import power
from surefoot.core.stats.change_point import BROKEN_FROM_START_WEIGHT


@dataclass(frozen=True, slots=True)
class TrafficSplitPeriod:
    """Traffic under one split.

    Attributes:
        share: Share of the candidate [0 < share <= 1].
        n: Trials of both arms [count].
    """

    share: float
    n: float


@dataclass(frozen=True, slots=True)
class LiveStepConditions:
    """What a rollout step gives a gate (traffic, time) and demands of it (error levels, fewest requests).

    Attributes:
        step: The step as people name it.
        periods: Traffic until the end of the step, this step's last.
        a_second: Trials of this step [count per second].
        lasts: Length of this step [seconds].
        trial: What is counted.
        alpha: Level to fail [probability].
        beta: Level to pass [probability].
        allowance: Multiple of the margin that a pass must exclude.
        forever: Whether the end is open, as in a bake.
        wanted: Fewest requests that the step demands [count].
        patience: How long the step is prolonged when nothing is decided [seconds].
    """

    step: str
    periods: tuple[TrafficSplitPeriod, ...]
    a_second: float
    lasts: float
    trial: str
    alpha: float
    beta: float = 0.05
    allowance: float = 1.0
    forever: bool = False
    wanted: int = 0
    patience: float = 0.0

    @property
    def n(self) -> float:
        """Trials of both arms by the end of the step [count]."""
        return sum(period.n for period in self.periods)

    @property
    def level(self) -> float:
        """Level of the evidence on its most likely way: against a break at the beginning, or at any time."""
        return self.alpha / MAX_EPOCHS if self.forever else self.alpha * BROKEN_FROM_START_WEIGHT


def plan_live_gate(gate: Gate, asked: LiveStepConditions) -> Detectability:
    """What a gate on served traffic can detect by the end of a step."""
    law = estimate_evidence_growth(gate)
    alpha = asked.level / (len(gate.quantiles) if isinstance(gate, MeasurementGate) else 1)

    def found(times: float) -> float:
        nats = sum(s.n * law.harm(s.share, times) for s in asked.periods)
        return power.detection_chance_by_requests(1.0, alpha, nats)

    effect = max(find_smallest_detectable_harm(found, 1.0, law.largest), law.accepted)
    nats = [s.n * law.safe(s.share, asked.allowance) for s in asked.periods]
    passes = power.chance_above_level(sum(nats), asked.beta)
    grows = law.safe(asked.periods[-1].share, asked.allowance) * asked.a_second
    left = power.mean_evidence_needed(asked.beta, PLAN_POWER) - sum(nats[:-1])
    needs = max(left, 0.0) / grows if grows > 0.0 else math.inf
    seen = math.isfinite(effect) and effect < law.largest
    return Detectability(
        step=asked.step,
        gate=gate.name,
        metric=gate.metric.value,
        n=asked.n,
        counts=asked.trial,
        effect=effect if seen else None,
        finds=law.describe_harm(effect) if seen else "",
        passes=passes,
        needs=needs if math.isfinite(needs) else None,
        lasts=asked.lasts,
        assumes=law.assumes,
        warning=_warning(asked, passes, needs, seen=seen),
    )


def _warning(asked: LiveStepConditions, passes: float, needs: float, *, seen: bool) -> str:
    planned = asked.a_second * asked.lasts
    if asked.wanted > planned + asked.a_second * asked.patience:
        return f"demands {asked.wanted:,} requests, but only about {planned:,.0f} {asked.trial} come in time"
    if not seen:
        return "cannot fail: not even a candidate that always fails would be found by the end of the step"
    if passes < PLAN_POWER and not asked.forever and not math.isfinite(needs):
        return "cannot pass: the margin leaves nothing to prove"
    if needs > asked.lasts + asked.patience and not asked.forever:
        return f"an equal candidate passes in time with a chance of {passes:.0%} only"
    return ""
