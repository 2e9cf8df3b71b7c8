"""Compute an e-process, which is growing evidence on the difference between the event rates of two arms.

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
from surefoot.core.judging.evidence import BadEventStratum

HARM_FACTORS = (1.1, 1.3, 1.7, 2.5, 5.0, 12.0)
"""Odds multipliers of the alternatives "the candidate is worse than the line"."""
NO_HARM_FACTORS = (0.93, 0.85, 0.75, 0.60, 0.40, 0.15)
"""Odds multipliers of the alternatives "the candidate is better than the line"."""
MIN_PROBABILITY = 1e-6
"""Lowest probability that a guess may have: keeps every logarithm finite."""
_MIN_MARGIN_MULTIPLE, _MAX_MARGIN_MULTIPLE = -5.0, 50.0
"""Ends of what `degradation_interval` looks at [multiples of the margin]."""
_END_TOLERANCE = 1e-3
"""How close to such an end a bisection stops that found nothing [multiples of the margin]."""
_PROJECTION_TOLERANCE = 1e-15
"""Relative step at which a projection is as close as floating point gets."""


def _clip(p: float) -> float:
    return min(max(p, MIN_PROBABILITY), 1.0 - MIN_PROBABILITY)


def kl_divergence(p: float, q: float) -> float:
    """KL(Bernoulli(p) || Bernoulli(q)) [nats]."""
    return p * math.log(p / q) + (1.0 - p) * math.log((1.0 - p) / (1.0 - q))


def _bend(p: float, q: float) -> float:
    """Second derivative of KL(Bernoulli(p) || Bernoulli(q)) by q [nats]."""
    return p / (q * q) + (1.0 - p) / ((1.0 - q) * (1.0 - q))


def multiply_odds(p: float, factor: float) -> float:
    """Multiply the odds of a probability by a factor."""
    scaled = factor * p / (1.0 - p)
    return _clip(scaled / (1.0 + scaled))


@lru_cache(maxsize=4096)
def project_to_null(share: float, p1: float, p0: float, a: float, d: float) -> tuple[float, float]:
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
    low = max(MIN_PROBABILITY, (MIN_PROBABILITY - d) / a if a else MIN_PROBABILITY)
    high = min(1.0 - MIN_PROBABILITY, (1.0 - MIN_PROBABILITY - d) / a if a else 1.0 - MIN_PROBABILITY)
    if share >= 1.0 or p1 == start or low >= high:
        return p0, start
    if a == 1.0 and d == 0.0:
        q = _clip(share * p1 + (1.0 - share) * p0)
        return q, q

    # The divergence is convex along the line: Newton's steps, and a bisection wherever one leaves the bracket.
    q0 = min(max(p0, low), high)
    for _ in range(100):
        q1 = _clip(a * q0 + d)
        slope = share * a * (q1 - p1) / (q1 * (1.0 - q1)) + (1.0 - share) * (q0 - p0) / (q0 * (1.0 - q0))
        if slope > 0.0:
            high = q0
        else:
            low = q0
        bend = share * a * a * _bend(p1, q1) + (1.0 - share) * _bend(p0, q0)
        after = q0 - slope / bend
        if not low <= after <= high:
            after = 0.5 * (low + high)
        if abs(after - q0) <= _PROJECTION_TOLERANCE * q0:
            break
        q0 = after
    return q0, _clip(a * q0 + d)


@lru_cache(maxsize=16384)
def trial_evidence_increments(
    share: float, guess: float, slope: float, offset: float, grid: tuple[float, ...]
) -> tuple[tuple[float, float, float, float], ...]:
    """Log-increments of one trial, for each alternative.

    Args:
        share: Share of requests that the candidate answers [0 < share <= 1].
        guess: Champion's rate [probability].
        slope: Slope of the null line [>= 0].
        offset: Offset of the null line [probability].
        grid: Odds multipliers of the alternatives, HARM_FACTORS or NO_HARM_FACTORS.

    Returns:
        For each alternative the increments of (candidate bad, candidate good, champion bad, champion good) [nats].

    Raises:
        InvariantBroken: The share or the guess is not a probability.

    Law: every row is an e-value of one trial: its mean over the four outcomes is at most one under the null.
    """
    if not 0.0 <= guess <= 1.0 or not 0.0 < share <= 1.0:
        raise InvariantBroken("guess and shares must be probabilities")
    p0 = _clip(guess)
    start = _clip(slope * p0 + offset)
    made = []
    for factor in grid:
        p1 = multiply_odds(start, factor)
        q0, q1 = project_to_null(share, p1, p0, slope, offset)
        made.append(
            (math.log(p1 / q1), math.log((1.0 - p1) / (1.0 - q1)), math.log(p0 / q0), math.log((1.0 - p0) / (1.0 - q0)))
        )
    return tuple(made)


def epoch_evidence_increments(
    strata: Sequence[BadEventStratum], guess: float, slope: float, offset: float, grid: tuple[float, ...]
) -> dict[int, tuple[float, ...]]:
    """Log-increments of every epoch, one an alternative; arguments as in `log_evidence`.

    Returns:
        By epoch, the increments of all its strata together [nats], one an alternative; empty without strata.

    Raises:
        InvariantBroken: A share or the guess is not a probability.

    Law: `log_mean` of the sums over epochs is `log_evidence` of all strata.
    """
    made: dict[int, list[float]] = {}
    for s in strata:
        total = made.setdefault(s.epoch, [0.0] * len(grid))
        for k, (a, b, c, d) in enumerate(trial_evidence_increments(s.share, guess, slope, offset, grid)):
            total[k] += s.candidate_bad * a + s.candidate_good * b + s.champion_bad * c + s.champion_good * d
    return {epoch: tuple(total) for epoch, total in made.items()}


def log_mean_exp(logs: Sequence[float]) -> float:
    """Logarithm of the mean of numbers given by their logarithms; no number is too large or too small for it."""
    top = max(logs)
    if math.isinf(top):
        return top
    return top + math.log(sum(math.exp(value - top) for value in logs) / len(logs))


def log_evidence(
    strata: Sequence[BadEventStratum], guess: float, slope: float, offset: float, grid: tuple[float, ...]
) -> float:
    """Logarithm of the e-value against "the candidate lies on (or on the good side of) the line".

    Args:
        strata: Counts of both arms by split.
        guess: Champion's rate, frozen before the rollout [probability]; a wrong guess costs power, never validity.
        slope: Slope of the null line [>= 0].
        offset: Offset of the null line [probability].
        grid: HARM_FACTORS or NO_HARM_FACTORS.

    Returns:
        log E; 0.0 without data [nats].

    Raises:
        InvariantBroken: A share or the guess is not a probability.
    """
    totals = [0.0] * len(grid)
    for s in strata:
        n11, n10, n01, n00 = s.candidate_bad, s.candidate_good, s.champion_bad, s.champion_good
        for k, (a, b, c, d) in enumerate(trial_evidence_increments(s.share, guess, slope, offset, grid)):
            totals[k] += n11 * a + n10 * b + n01 * c + n00 * d
    return log_mean_exp(totals)


def degradation_interval(
    strata: Sequence[BadEventStratum], guess: float, growth: float, points: float, alpha: float, beta: float
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
        low, high = _MIN_MARGIN_MULTIPLE, _MAX_MARGIN_MULTIPLE
        for _ in range(30):
            s = 0.5 * (low + high)
            rejected = log_evidence(strata, guess, max(1.0 + s * growth, 0.01), s * points, grid) >= -math.log(level)
            if rejected == rising:
                low = s
            else:
                high = s
        return 0.5 * (low + high)

    low, high = crossing(HARM_FACTORS, alpha, rising=True), crossing(NO_HARM_FACTORS, beta, rising=False)
    return min(low, high), max(low, high)


def open_ended_interval(low: float, high: float) -> tuple[float | None, float | None]:
    """Ends of a `degradation_interval`, with None for an end that the counts do not reach."""
    return (None if low <= _MIN_MARGIN_MULTIPLE + _END_TOLERANCE else low), (
        None if high >= _MAX_MARGIN_MULTIPLE - _END_TOLERANCE else high
    )


def mantel_haenszel_rates(strata: Sequence[BadEventStratum]) -> tuple[float, float] | None:
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
