"""Compute the smallest effects that paired, gauge and shift gates can detect."""

import math
from dataclasses import replace

from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.planning.detectability import PLAN_POWER, Detectability, find_smallest_detectable_harm
from surefoot.core.policy.policy_types import GAP_METRICS, GaugeGate, Metric, PairedGate, ShiftGate
from surefoot.core.stats import power
from surefoot.core.stats.distributions import beta_quantile, normal_probability, normal_quantile, student_upper_quantile
from surefoot.core.stats.paired_difference import MIN_BLOCKS
from surefoot.core.stats.rate_eprocess import HARM_FACTORS, MIN_PROBABILITY, kl_divergence

_EXPECTED_DISAGREEMENT = 0.05
"""Share of the requests on which two versions disagree, unless the policy expects another one."""
_MAX_BLOCKS = 100_000
"""More blocks than anybody waits for [count]."""


def _complete_blocks(gate: PairedGate, window: float) -> int:
    """Complete blocks whose labels have all had their time, in a window [seconds]; one is cut at its beginning."""
    return max(math.floor((window - gate.maturity) / gate.block) - 1, 0)


def _apart(k: int, level: float, chance: float) -> float:
    """Difference that Student's test at a level shows with a chance [standard errors]."""
    return student_upper_quantile(level, k - 1) + normal_quantile(chance)


def _passes(room: float, k: int, level: float) -> float:
    """Chance that an equal candidate stays below a margin that lies so many standard errors off."""
    return normal_probability(room - student_upper_quantile(level, k - 1))


def plan_paired_gate(
    gate: PairedGate, step: str, window: float, patience: float, level: DecisionThresholds, wanted: int, a_second: float
) -> Detectability:
    """What a gate that compares both versions on the same requests can detect in a window.

    Args:
        gate: The gate.
        step: The step as people name it.
        window: Length of the evidence [seconds].
        patience: How long the step is prolonged when nothing is decided [seconds].
        level: Level of the gate in this step, at its first look.
        wanted: Fewest labelled requests that the step demands [count].
        a_second: Requests planned [count per second].

    Law: needs the spread between blocks, which only the past knows; without it no effect is named.
    """
    k, longest = _complete_blocks(gate, window), window + patience
    alpha, beta = level.error_levels(gate.block)
    warning = ""
    if _complete_blocks(gate, longest) < MIN_BLOCKS:
        warning = f"{_complete_blocks(gate, longest)} complete blocks can never decide: {MIN_BLOCKS} are needed"
    elif wanted > a_second * longest:
        warning = f"demands {wanted:,} labelled requests, but only about {a_second * longest:,.0f} come in time"
    made = Detectability(step, gate.name, gate.metric.value, k, "blocks", lasts=window, warning=warning)
    if warning or k < MIN_BLOCKS:
        return made
    if gate.spread is None or gate.margin is None or gate.relative:
        what = "no effect is named without the spread between blocks (expect: {spread: ...})"
        if gate.margin is None:
            what = "no effect is named for a limit of the candidate's own value"
        return replace(made, assumes=what)
    return _measured(gate, made, longest, alpha, beta)


def _measured(gate: PairedGate, made: Detectability, longest: float, alpha: float, beta: float) -> Detectability:
    k = round(made.n)
    spread, margin = gate.spread or 0.0, gate.margin or 0.0
    error = spread / math.sqrt(k)
    effect = max(_apart(k, alpha, PLAN_POWER) * error, margin)
    room = margin / error
    passes = _passes(room, k, beta)
    needed = next((b for b in _sizes() if _passes(margin / (spread / math.sqrt(b)), b, beta) >= PLAN_POWER), None)
    needs = None if needed is None or margin == 0.0 else (needed + 1) * gate.block + gate.maturity
    better = _apart(k, beta, PLAN_POWER) * error
    warning = ""
    if margin and (needs is None or needs > longest):
        warning = f"an equal candidate passes in time with a chance of {passes:.0%} only"
    assumes = "" if margin else f"to pass a candidate must be better by {better:.4g}"
    what = f"{gate.metric.value} worse by {effect:.4g}"
    if gate.by and gate.metric not in GAP_METRICS:
        assumes = "as if there were one slice; of several each gets its part of the level"
    return replace(
        made,
        effect=effect,
        finds=what,
        passes=passes if margin else None,
        needs=needs,
        assumes=assumes,
        warning=warning,
    )


def plan_paired_binary_gate(
    gate: PairedGate, step: str, window: float, patience: float, level: DecisionThresholds, a_second: float
) -> Detectability:
    """What a gate on right and wrong answers can detect where requests count one by one, not in blocks.

    Args:
        gate: The gate.
        step: The step as people name it.
        window: Length of the evidence [seconds].
        patience: How long the step is prolonged when nothing is decided [seconds].
        level: Level of the gate in this step.
        a_second: Requests planned [count per second].
    """
    apart, margin = gate.expected if gate.expected is not None else _EXPECTED_DISAGREEMENT, gate.margin or 0.0
    n = a_second * max(window - gate.maturity, 0.0)

    def found(worse: float) -> float:
        p = 0.5 + 0.5 * min(worse / apart, 1.0 - MIN_PROBABILITY)
        return power.detection_chance_by_requests(n, level.alpha / level.stages, apart * kl_divergence(p, 0.5))

    effect = max(find_smallest_detectable_harm(found, 1e-9, apart), margin)
    nats = margin * margin / (2.0 * apart)
    passes = power.chance_above_level(n * nats, level.beta)
    needs = power.mean_evidence_needed(level.beta, PLAN_POWER) / nats / a_second + gate.maturity if nats else math.inf
    warning = ""
    if not math.isfinite(effect):
        warning = "cannot fail: not even a candidate that is wrong whenever the two disagree would be found"
    elif not margin:
        warning = "cannot pass: the margin leaves nothing to prove"
    elif needs > window + patience:
        warning = f"an equal candidate passes in time with a chance of {passes:.0%} only"
    seen = math.isfinite(effect)
    return Detectability(
        step=step,
        gate=gate.name,
        metric=gate.metric.value,
        n=n,
        counts="answers",
        effect=effect if seen else None,
        finds=f"wrong on {effect:.2%} more" if seen else "",
        passes=passes,
        needs=needs if math.isfinite(needs) else None,
        lasts=window,
        assumes=""
        if gate.expected is not None
        else f"assuming that the two disagree on {apart:.0%} (expect: {{rate: ...}})",
        warning=warning,
    )


def plan_gauge_gate(
    gate: GaugeGate, step: str, lasts: float, patience: float, level: DecisionThresholds
) -> Detectability:
    """What a gauge shows in a step: how many blocks there are, and how many it takes when all of them agree."""
    n = math.floor(lasts / gate.block)
    each = math.log(2.0 * max(HARM_FACTORS) / (1.0 + max(HARM_FACTORS)))
    fails, passing = ((math.log(len(HARM_FACTORS)) - math.log(x)) / each for x in (level.alpha, level.beta))
    needs = math.ceil(passing) * gate.block
    warning = ""
    if n < fails:
        warning = f"cannot fail: {n} blocks come, and {math.ceil(fails)} are needed even if all of them are bad"
    elif needs > lasts + patience:
        warning = f"cannot pass: {n} blocks come, and {math.ceil(passing)} are needed"
    return Detectability(
        step,
        gate.name,
        gate.metric.value,
        n,
        "blocks",
        finds="" if n < fails else f"above its margin in {math.ceil(fails)} blocks of {n}",
        passes=float(n >= passing),
        needs=needs,
        lasts=lasts,
        warning=warning,
    )


def _sizes() -> list[int]:
    """Numbers of blocks to try, 5 % apart."""
    made: list[int] = []
    k = float(MIN_BLOCKS)
    while k < _MAX_BLOCKS:
        if not made or int(k) > made[-1]:
            made.append(int(k))
        k *= 1.05
    return made


def plan_shift_gate(gate: ShiftGate, step: str, window: float, level: DecisionThresholds, n: float) -> Detectability:
    """What a gate on shifts sees in so many requests: an exact interval of a share, or the band of two samples."""
    limit, alpha = gate.limit or 0.0, level.error_levels(gate.block)[0] / 2.0
    made = Detectability(step, gate.name, gate.metric.value, n, "requests", lasts=window)
    if n < 1.0:
        return replace(made, warning="no request comes in its window")
    if gate.against == "champion" and gate.metric is Metric.INPUT_SHIFT:
        radius = -math.log(alpha) / n

        def found(share: float) -> float:
            certain = beta_quantile(alpha, max(share * n - 1.0, 1e-9), n - share * n + 2.0) if share < 1.0 else 1.0
            return float(certain > limit)

        effect = find_smallest_detectable_harm(found, 1.0 / n, 1.0)
        what = f"another value on {effect:.2%} of the requests" if math.isfinite(effect) else ""
        needs = -math.log(alpha) / limit / (n / window) if limit else None
    else:
        radius = 2.0 * math.sqrt(-math.log(alpha) / (2.0 * n))
        effect = limit + radius
        what = f"a distance of {effect:.3f}" if effect < 1.0 else ""
        needs = 2.0 * -math.log(alpha) / (limit * limit) / (n / window) if limit else None
    warning = ""
    if radius > limit:
        warning = f"cannot pass: {n:,.0f} requests leave {radius:.3f} open, and {limit:g} is accepted"
    elif not what:
        warning = "cannot fail: not even a complete shift would be proved"
    return replace(
        made,
        effect=effect if what else None,
        finds=what,
        passes=float(radius <= limit),
        needs=needs,
        assumes="as if there were one feature; of several each gets its part of the level",
        warning=warning,
    )
