"""Provide histograms with logarithmic buckets, from which quantiles and exceedances are read."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from surefoot.core.errors import InvariantBroken
from surefoot.core.judging.evidence import BadEventStratum

BUCKET_RATIO = 1.02
"""Upper edge of a bucket over its lower edge."""
LOWEST_BUCKET = -100_000
"""Bucket of everything that is not above zero; no positive number comes near it."""
_LOG = math.log(BUCKET_RATIO)


def bucket_of(value: float) -> int:
    """Number of the bucket that holds a value.

    Args:
        value: The measurement [any unit]; what is not above zero goes to LOWEST_BUCKET.

    Raises:
        InvariantBroken: The value is not a finite number.

    Law: edge(bucket(x)) <= x < edge(bucket(x) + 1), but for values within rounding of an edge, which may fall to
        either side.
    """
    if not math.isfinite(value):
        raise InvariantBroken(f"{value} is not a measurement")
    return math.floor(math.log(value) / _LOG) if value > 0.0 else LOWEST_BUCKET


def bucket_edge(number: int) -> float:
    """Lower edge of a bucket [unit of the measurement]; 0 for the lowest, infinite beyond the largest number."""
    if number <= LOWEST_BUCKET:
        return 0.0
    try:
        return math.exp(number * _LOG)
    except OverflowError:
        return math.inf


@dataclass(frozen=True, slots=True)
class Histogram:
    """Values by bucket.

    Attributes:
        counts: Values in each bucket [count]; a bucket that is not named is empty.

    Law: adding is commutative and associative, so it does not matter who counted what first.
    """

    counts: Mapping[int, int]

    @property
    def total(self) -> int:
        """Values in all [count]."""
        return sum(self.counts.values())

    def above(self, number: int) -> int:
        """Values in this bucket or in a higher one [count]: exactly those at or above its lower edge."""
        return sum(n for key, n in self.counts.items() if key >= number)

    def quantile(self, q: float) -> float:
        """Middle, on a log scale, of the bucket in which a quantile lies: within 1 % of it.

        Args:
            q: Which [0 < q < 1].

        Raises:
            InvariantBroken: There is no value, or no such quantile.
        """
        total = self.total
        if not total or not 0.0 < q < 1.0:
            raise InvariantBroken(f"no quantile {q} of {total} values")
        seen = 0
        for key in sorted(self.counts):
            seen += self.counts[key]
            if seen >= q * total:
                break
        return bucket_edge(key) * math.sqrt(BUCKET_RATIO)

    def __add__(self, other: "Histogram") -> "Histogram":
        """Values of both."""
        keys = self.counts.keys() | other.counts.keys()
        return Histogram({key: self.counts.get(key, 0) + other.counts.get(key, 0) for key in keys})


def count_exceedances(
    candidate: Histogram, champion: Histogram, share: float, epoch: int, mine: int, theirs: int
) -> BadEventStratum:
    """Values at or above an edge as bad events, exactly counted.

    Args:
        candidate: Values of the candidate.
        champion: Values of the champion.
        share: Share of units routed to the candidate [0 < share <= 1].
        epoch: Epoch that the values fell into.
        mine: Bucket whose lower edge is the candidate's threshold; a higher one than `theirs` is a margin.
        theirs: Bucket whose lower edge is the champion's threshold.
    """
    slow, beside = candidate.above(mine), champion.above(theirs)
    return BadEventStratum(share, slow, candidate.total - slow, beside, champion.total - beside, epoch)
