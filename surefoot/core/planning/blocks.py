"""Gates on the same requests of both versions: what their blocks, or their number, can show."""

import math
from dataclasses import replace

from scipy import stats

from surefoot.core.planning.sight import SURE, Sight, smallest
from surefoot.core.policy import GAPS, Gate, Metric
from surefoot.core.stats.paired import LEAST_BLOCKS, spend

MOST_BLOCKS = 100_000
"""More blocks than anybody waits for [count]."""


def blocks(gate: Gate, window: float) -> int:
    """Complete blocks whose labels have all had their time, in a window [seconds]; one is cut at its beginning."""
    return max(math.floor((window - gate.maturity) / gate.block) - 1, 0)


def _apart(k: int, level: float, chance: float) -> float:
    """Difference that Student's test at a level shows with a chance [standard errors]."""
    return float(stats.t.isf(level, k - 1)) + float(stats.norm.ppf(chance))


def _passes(room: float, k: int, level: float) -> float:
    """Chance that an equal candidate stays below a margin that lies so many standard errors off."""
    return float(stats.norm.cdf(room - float(stats.t.isf(level, k - 1))))


def paired(
    gate: Gate, step: str, window: float, patience: float, alpha: float, beta: float, wanted: int, a_second: float
) -> Sight:
    """What a gate on the same requests sees in a window.

    Args:
        gate: The gate.
        step: The step as people name it.
        window: Length of the evidence [seconds].
        patience: How long the step is prolonged when nothing is decided [seconds].
        alpha: Level to fail at the first look [probability].
        beta: Level to pass [probability].
        wanted: Fewest labelled requests that the step demands [count].
        a_second: Requests planned [count per second].

    Law: needs the spread between blocks, which only the past knows; without it no effect is named.
    """
    k, longest = blocks(gate, window), window + patience
    alpha, beta = alpha * spend(1), beta * spend(1)
    warning = ""
    if blocks(gate, longest) < LEAST_BLOCKS:
        warning = f"{blocks(gate, longest)} complete blocks can never decide: {LEAST_BLOCKS} are needed"
    elif wanted > a_second * longest:
        warning = f"demands {wanted:,} labelled requests, but only about {a_second * longest:,.0f} come in time"
    made = Sight(step, gate.name, gate.metric.value, k, "blocks", lasts=window, warning=warning)
    if warning or k < LEAST_BLOCKS:
        return made
    if gate.spread is None or gate.margin is None or gate.relative:
        what = "no effect is named without the spread between blocks (expect: {spread: ...})"
        if gate.margin is None:
            what = "no effect is named for a limit of the candidate's own value"
        return replace(made, assumes=what)
    return _measured(gate, made, longest, alpha, beta)


def _measured(gate: Gate, made: Sight, longest: float, alpha: float, beta: float) -> Sight:
    k = round(made.n)
    spread, margin = gate.spread or 0.0, gate.margin or 0.0
    error = spread / math.sqrt(k)
    effect = max(_apart(k, alpha, SURE) * error, margin)
    room = margin / error
    passes = _passes(room, k, beta)
    needed = next((b for b in _sizes() if _passes(margin / (spread / math.sqrt(b)), b, beta) >= SURE), None)
    needs = None if needed is None or margin == 0.0 else (needed + 1) * gate.block + gate.maturity
    better = _apart(k, beta, SURE) * error
    warning = ""
    if margin and (needs is None or needs > longest):
        warning = f"an equal candidate passes in time with a chance of {passes:.0%} only"
    assumes = "" if margin else f"to pass a candidate must be better by {better:.4g}"
    what = f"{gate.metric.value} worse by {effect:.4g}"
    if gate.by and gate.metric not in GAPS:
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


def _sizes() -> list[int]:
    """Numbers of blocks to try, 5 % apart."""
    made: list[int] = []
    k = float(LEAST_BLOCKS)
    while k < MOST_BLOCKS:
        if not made or int(k) > made[-1]:
            made.append(int(k))
        k *= 1.05
    return made


def shifted(gate: Gate, step: str, window: float, alpha: float, n: float) -> Sight:
    """What a gate on shifts sees in so many requests: an exact interval of a share, or the band of two samples."""
    limit, alpha = gate.limit or 0.0, alpha * spend(1) / 2.0
    made = Sight(step, gate.name, gate.metric.value, n, "requests", lasts=window)
    if n < 1.0:
        return replace(made, warning="no request comes in its window")
    if gate.against == "champion" and gate.metric is Metric.INPUT_SHIFT:
        radius = -math.log(alpha) / n

        def found(share: float) -> float:
            certain = (
                float(stats.beta.ppf(alpha, max(share * n - 1.0, 1e-9), n - share * n + 2.0)) if share < 1.0 else 1.0
            )
            return float(certain > limit)

        effect = smallest(found, 1.0 / n, 1.0)
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
