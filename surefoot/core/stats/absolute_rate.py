"""Compute the evidence that the event rate of one arm is above, or below, an absolute limit."""

import math
from collections.abc import Mapping

from surefoot.core.errors import InvariantBroken
from surefoot.core.stats.rate_eprocess import HARM_FACTORS


def evidence_against_rate_limit(
    epochs: Mapping[int, tuple[int, int]], limit: float, grid: tuple[float, ...] = HARM_FACTORS
) -> dict[int, tuple[float, ...]]:
    """Log-increments of the evidence against an absolute limit, by epoch; one for each alternative [nats].

    Args:
        epochs: (bad, good) trials by epoch [count].
        limit: Largest rate of bad trials that is accepted [0 < probability < 1].
        grid: HARM_FACTORS against "at most the limit"; NO_HARM_FACTORS against "at least the limit", the safe side.

    Raises:
        InvariantBroken: The limit is not a probability between 0 and 1.

    Law: however the rate moves, the increments make an e-process as long as it stays on its side of the limit.

    Source: Wald (1945), Annals of Mathematical Statistics 16(2): likelihood ratios against the edge of the null.
    """
    if not 0.0 < limit < 1.0:
        raise InvariantBroken("a limit must be between 0 and 1")
    # At f times the odds of the limit a good trial is worth 1 / (1 + limit (f - 1)), and a bad one f times as much.
    steps = [(math.log(factor), math.log1p(limit * (factor - 1.0))) for factor in grid]
    return {
        epoch: tuple(bad * gain - (bad + good) * cost for gain, cost in steps) for epoch, (bad, good) in epochs.items()
    }
