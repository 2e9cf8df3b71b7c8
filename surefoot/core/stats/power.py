"""Compute statistical power: how many requests a gate needs, and how likely a given number is enough."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from surefoot.core.errors import InvariantBroken
from surefoot.core.stats.rate_eprocess import HARM_FACTORS, MIN_PROBABILITY, kl_divergence, project_to_null

TRAFFIC_MULTIPLES_TO_PASS = ((0.1, 0.45), (0.5, 1.1), (0.8, 2.0), (0.9, 2.5), (0.99, 4.2))
"""(chance to be done by then, requests over ln(1/level)/growth): measured at .5, .8 and .9; straight lines in between.
Beyond them the careful side of the exact chances that `detection_chance_by_events` gives."""
_STANDARD_NORMAL = NormalDist()


def evidence_growth(share: float, p1: float, p0: float, slope: float, offset: float, *, harm: bool = True) -> float:
    """Mean growth of the evidence with each request of both arms [nats per request].

    Args:
        share: Share of requests that the candidate answers [0 < share <= 1].
        p1: The candidate's rate [probability].
        p0: The champion's rate [probability].
        slope: Slope of the null line [>= 0].
        offset: Offset of the null line [probability].
        harm: Whether the evidence is of harm (candidate above the line) or of none (below it).

    Returns:
        0.0 when the candidate lies on the line or on its other side.

    Source: Kelly (1956), Bell System Technical Journal 35(4): growth is the divergence from the null.
    """
    p1, p0 = (min(max(p, MIN_PROBABILITY), 1.0 - MIN_PROBABILITY) for p in (p1, p0))
    line = slope * p0 + offset
    if (p1 <= line) if harm else (p1 >= line):
        return 0.0
    q0, q1 = project_to_null(share, p1, p0, slope, offset)
    return max(share * kl_divergence(p1, q1) + (1.0 - share) * kl_divergence(p0, q0), 0.0)


def _between(x: float, known: Sequence[float], values: Sequence[float]) -> float:
    """Value at x on straight lines between known points; the nearest value outside of them."""
    return float(np.interp(x, np.array(known), np.array(values)))


def requests_needed(level: float, nats: float, chance: float = 0.8) -> float:
    """Requests until the evidence reaches 1/level, with a chance [requests]; infinite without growth.

    Args:
        level: Error that is allowed [0 < probability < 1]; for M gates and a mixture of starts alpha / M / 2.
        nats: Growth [nats per request].
        chance: Chance to be done by then [0.1 to 0.99].

    Raises:
        InvariantBroken: level or chance are out of their range.

    Law: grows with the chance, and falls with the growth.
    """
    if not 0.0 < level < 1.0 or not TRAFFIC_MULTIPLES_TO_PASS[0][0] <= chance <= TRAFFIC_MULTIPLES_TO_PASS[-1][0]:
        raise InvariantBroken("level must be a probability and chance between 0.1 and 0.99")
    if nats <= 0.0:
        return math.inf
    return (
        -math.log(level)
        / nats
        * _between(chance, [row[0] for row in TRAFFIC_MULTIPLES_TO_PASS], [row[1] for row in TRAFFIC_MULTIPLES_TO_PASS])
    )


def detection_chance_by_requests(n: float, level: float, nats: float) -> float:
    """Chance that so many requests are enough [0 to 0.99]; the inverse of `requests_needed`.

    Args:
        n: Requests of both arms [requests].
        level: Error that is allowed [0 < probability < 1].
        nats: Growth [nats per request].

    Raises:
        InvariantBroken: level is out of its range.
    """
    if not 0.0 < level < 1.0:
        raise InvariantBroken("level must be a probability")
    if nats <= 0.0 or n <= 0.0:
        return 0.0
    table = ((0.0, 0.0), *TRAFFIC_MULTIPLES_TO_PASS)
    return _between(n * nats / -math.log(level), [row[1] for row in table], [row[0] for row in table])


def chance_above_level(nats: float, level: float) -> float:
    """Chance that the evidence stands at 1/level or above at one moment, not merely that it once did [probability].

    Args:
        nats: Mean of the evidence at that moment [nats].
        level: Error that is allowed [0 < probability < 1].

    Law: careful, as if a single alternative of the grid were to speak for all of them. The logarithm of its ratio is
        about normal, and its variance twice its mean.

    Source: Cox and Hinkley (1974), Theoretical Statistics, section 9.3: log-likelihood ratios of close hypotheses.
    """
    if nats <= 0.0:
        return 0.0
    return _STANDARD_NORMAL.cdf((nats + math.log(level) - math.log(len(HARM_FACTORS))) / math.sqrt(2.0 * nats))


def mean_evidence_needed(level: float, likely: float = 0.8) -> float:
    """Mean of the evidence at which `chance_above_level` is a chance [nats].

    Args:
        level: Error that is allowed [0 < probability < 1].
        likely: The chance [0.5 to 1].
    """
    # nats - bar = z * sqrt(2 nats), a quadratic in the root of nats.
    bar, z = math.log(len(HARM_FACTORS)) - math.log(level), _STANDARD_NORMAL.inv_cdf(likely) * math.sqrt(2.0)
    return ((z + math.sqrt(z * z + 4.0 * bar)) / 2.0) ** 2


def detection_chance_by_events(
    share: float,
    ratio: float,
    events: int,
    level: float,
    grid: tuple[float, ...] = HARM_FACTORS,
    *,
    margin: float = 1.0,
) -> float:
    """Exact chance that the evidence on rare events reaches 1/level at some moment within so many events.

    Args:
        share: Share of the requests that the candidate answers [0 < share < 1].
        ratio: True ratio of the candidate's rate to the champion's [>= 0].
        events: Bad events of both arms until the end [count].
        level: Error that is allowed [0 < probability < 1].
        grid: Multipliers of the alternatives, as rates are small those of rates: HARM_FACTORS or
            NO_HARM_FACTORS, so all on one side of 1.
        margin: Ratio on the null line [> 0].

    Raises:
        InvariantBroken: A number is out of its range, or the alternatives lie on both sides of the line.

    Law: no simulation but all paths of (candidate's events, all events), in events squared additions.

    Source: Lindon and Malek (2022), NeurIPS, for conditioning on events; Armitage, McPherson and Rowe (1969), Journal
        of the Royal Statistical Society A 132(2), for the recursion over looks.
    """
    if not (0.0 < share < 1.0 and ratio >= 0.0 and events >= 0 and 0.0 < level < 1.0 and margin > 0.0):
        raise InvariantBroken("a chance by events needs a share and a level between 0 and 1 and ratios above 0")
    harm = min(grid) > 1.0
    if not harm and max(grid) >= 1.0:
        raise InvariantBroken("alternatives must lie on one side of the line")
    null = share * margin / (share * margin + 1.0 - share)
    true = share * ratio / (share * ratio + 1.0 - share)
    scales = [math.log1p(null * (factor - 1.0)) for factor in grid]
    if harm:
        # Count what speaks for the alternatives: the candidate's events for harm, the champion's for none.
        steps = [(math.log(factor) - scale, -scale) for factor, scale in zip(grid, scales, strict=True)]
    else:
        true = 1.0 - true
        steps = [(-scale, math.log(factor) - scale) for factor, scale in zip(grid, scales, strict=True)]
    bar = math.log(len(grid) / level)

    def reached(k: int, n: int) -> bool:
        logs = [k * gain + (n - k) * loss for gain, loss in steps]
        top = max(logs)
        return top + math.log(sum(math.exp(log - top) for log in logs)) >= bar

    # One event against moves the boundary up by at most one, so a single question an event follows it.
    alive = np.zeros(events + 2)
    alive[0], boundary, done = 1.0, 0, 0.0
    for n in range(1, events + 1):
        alive[1 : n + 1] = alive[1 : n + 1] * (1.0 - true) + alive[:n] * true
        alive[0] *= 1.0 - true
        while boundary <= n and not reached(boundary, n):
            boundary += 1
        done += float(alive[boundary : n + 1].sum())
        alive[boundary : n + 1] = 0.0
    return done
