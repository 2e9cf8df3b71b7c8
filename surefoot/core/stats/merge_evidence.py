"""Merge the evidence of several tests into one e-value."""

import math
from collections.abc import Sequence

from surefoot.core.errors import InvariantBroken

_WEIGHT_TOLERANCE = 1e-9
"""By how much floating point may carry a sum of weights above one."""


def merge_log_evidence(logs: Sequence[float], weights: Sequence[float]) -> float:
    """Logarithm of the weighted mean of e-values [nats].

    Args:
        logs: Logarithms of the e-values [nats].
        weights: Their weights, none negative; what is missing to one counts as an e-value of 0.

    Returns:
        The logarithm [nats]; minus infinity when every e-value with a weight is 0.

    Raises:
        InvariantBroken: A weight is negative, they add up to nothing or to more than one, there is not one for each
            e-value, or an e-value is not a number.

    Law: an e-value whatever the gates have to do with each other; no other merge is one and admissible.

    Source: Vovk and Wang (2021), Annals of Statistics 49(3), proposition 3.1; Wang (2024), arXiv 2409.19888.
    """
    total = sum(weights)
    if (
        len(logs) != len(weights)
        or any(weight < 0.0 for weight in weights)
        or not 0.0 < total <= 1.0 + _WEIGHT_TOLERANCE
    ):
        raise InvariantBroken("weights of e-values must not be negative and must add up to at most one")
    if any(math.isnan(log) for log in logs):
        raise InvariantBroken("an e-value is not a number")
    kept = [(log, weight) for log, weight in zip(logs, weights, strict=True) if weight > 0.0]
    top = max(log for log, _ in kept)
    if math.isinf(top):
        return top
    return top + math.log(sum(weight * math.exp(log - top) for log, weight in kept))
