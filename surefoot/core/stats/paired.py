"""Paired differences by block: outcomes that move together count once a block."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from surefoot.core.errors import InvariantBroken
from surefoot.core.evidence import Block

LEAST_BLOCKS = 5
"""Fewer blocks say nothing about how much blocks differ [count]."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean difference of the losses, candidate minus champion, with its uncertainty.

    Attributes:
        mean: Difference per request [unit of the loss].
        error: Standard error from the spread between blocks [unit of the loss].
        blocks: Blocks [count].
        n: Requests [count].
        champion: Champion's mean loss [unit of the loss].
        candidate: Candidate's mean loss [unit of the loss].
    """

    mean: float
    error: float
    blocks: int
    n: int
    champion: float
    candidate: float

    def radius(self, alpha: float) -> float:
        """One-sided half-width of Student's interval over blocks [unit of the loss].

        Args:
            alpha: Error at this look [probability, 0 < alpha < 0.5]; several looks share a level by `spend`.

        Raises:
            InvariantBroken: alpha is not a probability below one half.
        """
        if not 0.0 < alpha < 0.5:  # noqa: PLR2004 - a level above one half is no level
            raise InvariantBroken("alpha must be between 0 and 0.5")
        return float(stats.t.isf(alpha, self.blocks - 1)) * self.error


def spend(look: int) -> float:
    """Share of a level that one look may use; the shares of all looks there will ever be add up to one.

    Args:
        look: One-based number of the look.

    Law: sum over k >= 1 of 1 / (k (k + 1)) is 1.
    """
    return 1.0 / (look * (look + 1))


def difference(blocks: Sequence[Block]) -> Difference | None:
    """Ratio estimate of the mean difference with a between-block standard error.

    Args:
        blocks: One per day (or whatever moves together); empty blocks are left out.

    Returns:
        None with fewer than LEAST_BLOCKS blocks.

    Source: Cochran (1977), Sampling Techniques, section 6.3 (ratio estimator, its linearised variance).
    """
    kept = [block for block in blocks if block.n > 0]
    if len(kept) < LEAST_BLOCKS:
        return None
    n = sum(block.n for block in kept)
    champion = sum(block.champion for block in kept) / n
    candidate = sum(block.candidate for block in kept) / n
    mean = candidate - champion
    residuals = (block.candidate - block.champion - mean * block.n for block in kept)
    m = len(kept)
    variance = m / (m - 1) * sum(r * r for r in residuals) / (n * n)
    return Difference(mean, math.sqrt(variance), m, n, champion, candidate)
