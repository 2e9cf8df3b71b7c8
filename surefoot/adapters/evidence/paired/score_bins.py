"""Sum labels and scores in bins of the score, for calibration and AUC metrics."""

import numpy as np
from numpy.typing import NDArray

from surefoot.adapters.evidence.paired.exact_sums import IntegerArray
from surefoot.core.answers.answer_values import Floats
from surefoot.core.judging.evidence import MILLIONTHS_PER_UNIT
from surefoot.core.stats.block_metrics import SCORE_BINS


def score_bin_indices(given: Floats, truth: Floats) -> IntegerArray:
    """Bin of each score, whether its label is positive, and the score in millionths, shape (n, 3).

    Raises:
        ValueError: An answer or a label is not between 0 and 1.
    """
    if ((given < 0.0) | (given > 1.0) | (truth < 0.0) | (truth > 1.0)).any():
        raise ValueError("a distribution of scores needs probabilities and labels between 0 and 1")
    where = np.minimum((given * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)
    positive = (truth > 0.5).astype(np.int64)  # noqa: PLR2004 - a label is 0 or 1
    return np.stack([where, positive, np.rint(given * MILLIONTHS_PER_UNIT).astype(np.int64)], axis=1)


def score_bin_sums(rows: IntegerArray, group: NDArray[np.int64], groups: int) -> IntegerArray:
    """Requests, positives and scores by bin of the score in each group, shape (groups, 3 * SCORE_BINS).

    Args:
        rows: What `score_bin_indices` gives, shape (n, 3).
        group: Group of each row, shape (n,).
        groups: How many groups there are [count].
    """
    cell = group * SCORE_BINS + rows[:, 0]
    size = groups * SCORE_BINS
    parts = [np.bincount(cell, minlength=size)]
    parts += [np.bincount(cell, weights=rows[:, column], minlength=size).astype(np.int64) for column in (1, 2)]
    return np.concatenate([part.reshape(groups, SCORE_BINS) for part in parts], axis=1)


def score_bin_totals(given: Floats, truth: Floats) -> tuple[tuple[int, int, int], ...]:
    """Requests, positives and sum of scores in millionths of every bin."""
    made = score_bin_sums(score_bin_indices(given, truth), np.zeros(len(given), dtype=np.int64), 1)[0]
    return tuple(
        (int(made[index]), int(made[SCORE_BINS + index]), int(made[2 * SCORE_BINS + index]))
        for index in range(SCORE_BINS)
    )
