"""Anytime-valid evidence on event rates of two arms whose split and baseline both move.

A null line is q1 = a * q0 + d, with q1 and q0 the bad-event probabilities of candidate and champion at the
same instant. For each alternative the likelihood ratio against the closest point of the line is an e-variable,
whatever the split, however the baseline drifts, and at every look; their mean is one too.

Source: Turner, Ly and Gruenwald (2024), Journal of Statistical Planning and Inference 230:106116 (two-sample
e-variables); Lindon and Malek (2022), NeurIPS (conditioning on events); Ville (1939) for the level.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

from surefoot.core.errors import InvariantBroken
from surefoot.core.evidence import Stratum

HARM = (1.1, 1.3, 1.7, 2.5, 5.0, 12.0)
"""Odds multipliers of the alternatives "the candidate is worse than the line"."""
NO_HARM = (0.93, 0.85, 0.75, 0.60, 0.40, 0.15)
"""Odds multipliers of the alternatives "the candidate is better than the line"."""
FLOOR = 1e-6
"""Lowest probability that a guess may have: keeps every logarithm finite."""


def _clip(p: float) -> float:
    return min(max(p, FLOOR), 1.0 - FLOOR)


def _divergence(p: float, q: float) -> float:
    """KL(Bernoulli(p) || Bernoulli(q)) [nats]."""
    return p * math.log(p / q) + (1.0 - p) * math.log((1.0 - p) / (1.0 - q))


def odds(p: float, factor: float) -> float:
    """Multiply the odds of a probability by a factor."""
    scaled = factor * p / (1.0 - p)
    return _clip(scaled / (1.0 + scaled))


@lru_cache(maxsize=4096)
def project(share: float, p1: float, p0: float, a: float, d: float) -> tuple[float, float]:
    """Closest point (q0, q1) of the null line to an alternative.

    Args:
        share: Share of requests that the candidate answers [0 < share <= 1].
        p1: Candidate's rate under the alternative [probability].
        p0: Guess of the champion's rate [probability].
        a: Slope of the null line [>= 0].
        d: Offset of the null line [probability].

    Returns:
        The minimiser of share * KL(p1 || q1) + (1 - share) * KL(p0 || q0) on q1 = a * q0 + d.

    Law: where the line leaves the probabilities there may be no worse (or no better) alternative than the line
    itself. Such an alternative is worth nothing: it is its own projection.
    """
    start = _clip(a * p0 + d)
    low = max(FLOOR, (FLOOR - d) / a if a else FLOOR)
    high = min(1.0 - FLOOR, (1.0 - FLOOR - d) / a if a else 1.0 - FLOOR)
    if share >= 1.0 or p1 == start or low >= high:
        return p0, start
    if a == 1.0 and d == 0.0:
        q = _clip(share * p1 + (1.0 - share) * p0)
        return q, q

    def slope(q0: float) -> float:
        q1 = _clip(a * q0 + d)
        return share * a * (q1 - p1) / (q1 * (1.0 - q1)) + (1.0 - share) * (q0 - p0) / (q0 * (1.0 - q0))

    for _ in range(80):
        middle = 0.5 * (low + high)
        if slope(middle) > 0.0:
            high = middle
        else:
            low = middle
    q0 = 0.5 * (low + high)
    return q0, _clip(a * q0 + d)


def log_evidence(
    strata: Sequence[Stratum], guess: float, slope: float, offset: float, grid: tuple[float, ...]
) -> float:
    """Logarithm of the e-value against "the candidate lies on (or on the good side of) the line".

    Args:
        strata: Counts of both arms by split.
        guess: Champion's rate, frozen before the rollout [probability]; a wrong guess costs power, never validity.
        slope: Slope of the null line [>= 0].
        offset: Offset of the null line [probability].
        grid: HARM or NO_HARM.

    Returns:
        log E; 0.0 without data [nats].

    Raises:
        InvariantBroken: A share or the guess is not a probability.
    """
    if not 0.0 <= guess <= 1.0 or any(not 0.0 < s.share <= 1.0 for s in strata):
        raise InvariantBroken("guess and shares must be probabilities")
    p0 = _clip(guess)
    start = _clip(slope * p0 + offset)
    logs = []
    for factor in grid:
        p1 = odds(start, factor)
        total = 0.0
        for s in strata:
            q0, q1 = project(s.share, p1, p0, slope, offset)
            total += s.candidate_bad * math.log(p1 / q1) + s.candidate_good * math.log((1.0 - p1) / (1.0 - q1))
            total += s.champion_bad * math.log(p0 / q0) + s.champion_good * math.log((1.0 - p0) / (1.0 - q0))
        logs.append(total)
    top = max(logs)
    return top + math.log(sum(math.exp(value - top) for value in logs) / len(logs))


def band(
    strata: Sequence[Stratum], guess: float, growth: float, points: float, alpha: float, beta: float
) -> tuple[float, float]:
    """Interval of the share s of the allowed degradation that the counts do not exclude.

    Args:
        strata: Counts of both arms by split.
        guess: Champion's rate, frozen before the rollout [probability].
        growth: Relative part of the margin [share].
        points: Absolute part of the margin [probability].
        alpha: Level of the lower end [probability].
        beta: Level of the upper end [probability].

    Returns:
        (lower, upper) [share of the margin]; ends that the counts do not reach are -5 and 50. Counts that
        contradict their own split exclude everything; their ends come in order all the same.

    Law: for counts that fit their split whatever excludes one s excludes everything beyond it, so bisection works.
    """

    def crossing(grid: tuple[float, ...], level: float, *, rising: bool) -> float:
        low, high = -5.0, 50.0
        for _ in range(30):
            s = 0.5 * (low + high)
            rejected = log_evidence(strata, guess, max(1.0 + s * growth, 0.01), s * points, grid) >= -math.log(level)
            if rejected == rising:
                low = s
            else:
                high = s
        return 0.5 * (low + high)

    low, high = crossing(HARM, alpha, rising=True), crossing(NO_HARM, beta, rising=False)
    return min(low, high), max(low, high)


def mantel_haenszel(strata: Sequence[Stratum]) -> tuple[float, float] | None:
    """Rates of both arms as if every stratum had the same split.

    Returns:
        (champion, candidate) rates [probability], or None when an arm has no trials.
    """
    weights = [s.candidate * s.champion / (s.candidate + s.champion) for s in strata if s.candidate and s.champion]
    if not weights:
        return None
    both = [s for s in strata if s.candidate and s.champion]
    total = sum(weights)
    champion = sum(w * s.champion_bad / s.champion for w, s in zip(weights, both, strict=True)) / total
    candidate = sum(w * s.candidate_bad / s.candidate for w, s in zip(weights, both, strict=True)) / total
    return champion, candidate
