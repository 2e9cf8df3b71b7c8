"""Compute evidence, by bets, on the difference between the means of a bounded value in two arms."""

import math
from collections.abc import Sequence
from functools import lru_cache

from surefoot.core.errors import InvariantBroken
from surefoot.core.judging.evidence import ValueStratum

VALUE_LEVELS = 65
"""Levels that a value between 0 and 1 is rounded to, both ends among them [count]."""
BET_FRACTIONS = (1.0, 0.5, 0.25, 0.12, 0.06, 0.03, 0.012, 0.004)
"""Bets, as fractions of the largest one; where there is the traffic the smallest see a few parts in a thousand."""
_MAX_BET_SHARE = 0.95
"""Share of what there is that the largest bet may lose on one trial."""


@lru_cache(maxsize=512)
def _table(
    share: float, center: float, margin: float, slope: float, sign: float
) -> tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]:
    """Log-increments of one trial at each level: by bet, (candidate, champion)."""
    common = slope * center
    values = [level / (VALUE_LEVELS - 1) for level in range(VALUE_LEVELS)]
    mine = [sign * (y - common) / share + margin for y in values]
    theirs = [-sign * (slope * y - common) / (1.0 - share) + margin for y in values]
    # A bet is settled before its trial, by what the split can do at worst and not by what came.
    worst = min(mine[0], mine[-1], theirs[0], theirs[-1])
    largest = _MAX_BET_SHARE / max(-worst, 1.0 - _MAX_BET_SHARE)
    return tuple(
        (
            tuple(math.log1p(bet * largest * g) for g in mine),
            tuple(math.log1p(bet * largest * g) for g in theirs),
        )
        for bet in BET_FRACTIONS
    )


def mean_evidence_increments(
    strata: Sequence[ValueStratum],
    center: float,
    margin: float,
    *,
    harm: bool,
    higher_is_better: bool,
    slope: float = 1.0,
) -> dict[int, tuple[float, ...]]:
    """Log-increments by epoch, one a bet [nats]; nothing for a stratum in which the candidate gets everything.

    Args:
        strata: Counts of both arms by level.
        center: The champion's mean, frozen before the rollout [0 to 1]; a wrong one costs power, never validity.
        margin: Accepted difference of the means [0 to 1].
        harm: Whether to bet that the candidate is worse by more than the margin; otherwise that it is not.
        higher_is_better: Whether a larger value is a better one.
        slope: What the champion's mean is multiplied by before it is compared [> 0]; 1 + m for a relative margin m,
            or 1 - m where higher is better.

    Raises:
        InvariantBroken: Center or margin are not between 0 and 1, the slope is not positive, or a stratum has not
            VALUE_LEVELS levels.

    Law: g, the trial's value over its chance to be in its arm, has as mean the difference of the arms' means at that
        instant; so each factor 1 + lam (+-g - margin) is positive and has a mean of at most 1 under its null.

    Source: Waudby-Smith and Ramdas (2024), Journal of the Royal Statistical Society B 86(1), for the bets; Horvitz
        and Thompson (1952), Journal of the American Statistical Association 47(260), for g.
    """
    if not (0.0 <= center <= 1.0 and 0.0 <= margin <= 1.0 and 0.0 < slope < math.inf):
        raise InvariantBroken("center and margin must be between 0 and 1, and the slope above 0")
    up = harm != higher_is_better
    made: dict[int, list[float]] = {}
    for s in strata:
        if not 0.0 < s.share <= 1.0 or len(s.candidate) != VALUE_LEVELS or len(s.champion) != VALUE_LEVELS:
            raise InvariantBroken(f"a stratum needs a share and {VALUE_LEVELS} levels of each arm")
        if s.share == 1.0:
            continue
        totals = made.setdefault(s.epoch, [0.0] * len(BET_FRACTIONS))
        table = _table(s.share, center, -margin if harm else margin, slope, 1.0 if up else -1.0)
        candidate = [(level, n) for level, n in enumerate(s.candidate) if n]
        champion = [(level, n) for level, n in enumerate(s.champion) if n]
        for k, (mine, theirs) in enumerate(table):
            totals[k] += sum(n * mine[level] for level, n in candidate)
            totals[k] += sum(n * theirs[level] for level, n in champion)
    return {epoch: tuple(totals) for epoch, totals in made.items()}


def arm_means(strata: Sequence[ValueStratum]) -> tuple[float, float] | None:
    """Means of both arms as if every stratum had the same split.

    Returns:
        (champion, candidate) means [0 to 1], or None when no stratum has trials of both arms.

    Source: Mantel and Haenszel (1959), Journal of the National Cancer Institute 22(4), weights n1 n0 / (n1 + n0).
    """
    weights, old, new = 0.0, 0.0, 0.0
    for s in strata:
        mine, theirs = sum(s.candidate), sum(s.champion)
        if mine and theirs:
            weight = mine * theirs / (mine + theirs)
            weights += weight
            new += weight * sum(level * n for level, n in enumerate(s.candidate)) / mine
            old += weight * sum(level * n for level, n in enumerate(s.champion)) / theirs
    return (old / weights / (VALUE_LEVELS - 1), new / weights / (VALUE_LEVELS - 1)) if weights else None
