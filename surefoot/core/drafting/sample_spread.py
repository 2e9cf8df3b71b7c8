"""Measure in a sample how much the mean loss varies between time blocks (its spread)."""

import math
from collections.abc import Sequence

import numpy as np

from surefoot.core.answers.answer_values import Floats
from surefoot.core.stats.paired_difference import MIN_BLOCKS


def measure_spread(losses: Floats, times: Sequence[float], block: float, requests_per_block: float) -> float | None:
    """Standard deviation of a block's mean loss, or of its mean difference of two losses.

    Args:
        losses: A loss of each row, or the difference of two [unit of the loss], shape (n,).
        times: When each row came [Unix seconds]; empty where nothing tells it.
        block: Length of a block [s].
        requests_per_block: Requests that a block will have at the planned traffic [count].

    Returns:
        The spread [unit of the loss]; None where the rows do not differ, or are fewer than two.

    Law: with times on enough blocks it is the standard error of the mean over blocks, times the root of their number;
        else rows are taken to be independent, and it is their standard deviation over the root of a block's requests.

    Source: Cochran (1977), Sampling Techniques, section 6.4, for the standard error of a ratio.
    """
    if len(losses) < 2:  # noqa: PLR2004 - one row has no spread
        return None
    found = 0.0
    if times:
        numbers = np.unique(np.floor(np.asarray(times) / block), return_inverse=True)[1]
        counts = np.bincount(numbers).astype(np.float64)
        if len(counts) >= MIN_BLOCKS:
            off = np.bincount(numbers, weights=losses - losses.mean())
            error = math.sqrt(float(np.square(off).sum()) * len(counts) / (len(counts) - 1)) / len(losses)
            found = error * math.sqrt(len(counts))
    if not found:
        found = float(losses.std(ddof=1)) / math.sqrt(max(requests_per_block, 1.0))
    return float(f"{found:.2g}") if found > 0.0 else None
