"""Estimate the difference between two versions on the same blocks of requests, and the alpha of each look."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surefoot.core.errors import InvariantBroken
from surefoot.core.judging.evidence import MILLIONTHS_PER_UNIT, PairedBlock
from surefoot.core.stats.block_metrics import BlockMetric, Floats, mean_loss
from surefoot.core.stats.distributions import student_upper_quantile

MIN_BLOCKS = 5
"""Fewer blocks say nothing about how much blocks differ [count]."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference of a statistic, candidate minus champion, with its uncertainty.

    Attributes:
        mean: The difference [unit of the statistic].
        error: Its standard error from the spread between blocks [unit of the statistic].
        blocks: Blocks [count].
        n: Requests [count].
        champion: The champion's value [unit of the statistic].
        candidate: The candidate's value [unit of the statistic].
        own: Standard error of the candidate's own value [unit of the statistic].
    """

    mean: float
    error: float
    blocks: int
    n: int
    champion: float
    candidate: float
    own: float = 0.0

    def radius(self, alpha: float, *, own: bool = False) -> float:
        """One-sided half-width of Student's interval over blocks [unit of the statistic].

        Args:
            alpha: Error at this look [probability, 0 < alpha < 0.5]; several looks share a level by `spend`.
            own: Whether for the candidate's own value, not for the difference.

        Raises:
            InvariantBroken: alpha is not a probability below one half.
        """
        if not 0.0 < alpha < 0.5:  # noqa: PLR2004 - a level above one half is no level
            raise InvariantBroken("alpha must be between 0 and 0.5")
        return student_upper_quantile(alpha, self.blocks - 1) * (self.own if own else self.error)


def alpha_share_of_look(look: int) -> float:
    """Share of a level that one look may use; the shares of all looks there will ever be add up to one.

    Args:
        look: One-based number of the look.

    Law: sum over k >= 1 of 1 / (k (k + 1)) is 1.
    """
    return 1.0 / (look * (look + 1))


def block_difference(
    blocks: Sequence[PairedBlock], statistic: BlockMetric = mean_loss, coarse: int = 1
) -> Difference | None:
    """Difference of a statistic between two versions, with its spread between blocks.

    Args:
        blocks: One per day (or whatever moves together); empty blocks are left out.
        statistic: What is computed from the sums over all requests.
        coarse: How many millionths one unit of the sums is.

    Returns:
        None with fewer than MIN_BLOCKS blocks, or where the statistic is not defined.
    """
    kept = [block for block in blocks if block.n > 0]
    if len(kept) < MIN_BLOCKS:
        return None
    n = np.array([block.n for block in kept], dtype=np.float64)
    sums = (np.array([b.champion for b in kept], np.float64), np.array([b.candidate for b in kept], np.float64))
    if statistic is mean_loss:
        return _ratio(n, *(side[:, 0] * coarse / MILLIONTHS_PER_UNIT for side in sums))
    return jackknife_difference(n, sums[0] * coarse, sums[1] * coarse, statistic)


def _ratio(n: Floats, champion: Floats, candidate: Floats) -> Difference:
    """Difference of two means, from sums by block, shape (blocks,).

    Source: Cochran (1977), Sampling Techniques, section 6.3 (ratio estimator, its linearised variance).
    """
    blocks, total = len(n), float(n.sum())
    means = float(champion.sum()) / total, float(candidate.sum()) / total

    def spread(sums: Floats, centre: float) -> float:
        residuals = sums - centre * n
        return math.sqrt(blocks / (blocks - 1) * float(np.square(residuals).sum())) / total

    apart = means[1] - means[0]
    error, own = spread(candidate - champion, apart), spread(candidate, means[1])
    return Difference(apart, error, blocks, int(total), *means, own)


def jackknife_difference(n: Floats, champion: Floats, candidate: Floats, statistic: BlockMetric) -> Difference | None:
    """Difference of any statistic, and its spread when each block in turn is left out.

    Args:
        n: Requests by block (and group), shape (blocks, ...).
        champion: The champion's sums, shape (blocks, ..., k).
        candidate: The candidate's sums, shape (blocks, ..., k).
        statistic: What is computed from sums.

    Returns:
        None where the statistic is not defined, with all blocks or with any one of them left out.

    Law: for a mean over blocks of equal size the error is that of the block means.

    Source: Miller (1974), Biometrika 61(1), for the jackknife; Obuchowski (1997), Biometrics 53(2), for areas under
        curves of clustered data.
    """
    blocks = len(n)
    values, left_out = [], []
    for sums in (champion, candidate):
        values.append(float(statistic(n.sum(axis=0), sums.sum(axis=0))))
        left_out.append(statistic(n.sum(axis=0) - n, sums.sum(axis=0) - sums))
    if not all(map(math.isfinite, values)) or not all(np.isfinite(item).all() for item in left_out):
        return None

    def spread(item: Floats) -> float:
        return math.sqrt((blocks - 1) / blocks * float(np.square(item - item.mean()).sum()))

    error, own = spread(left_out[1] - left_out[0]), spread(left_out[1])
    return Difference(values[1] - values[0], error, blocks, int(n.sum()), values[0], values[1], own)
