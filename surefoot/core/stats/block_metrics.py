"""Compute metrics, such as mean loss or calibration error, from sums over time blocks of requests."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from surefoot.core.errors import InvariantBroken
from surefoot.core.judging.evidence import MILLIONTHS_PER_UNIT
from surefoot.core.policy.policy_types import Metric

Floats = NDArray[np.float64]
BlockMetric = Callable[[Floats, Floats], Floats]
"""(requests, shape (...,); sums, shape (..., k)) -> value, shape (...,); NaN where it is not defined."""
SCORE_BINS = 100
"""Bins of equal width over the scores 0 to 1 [count]."""
_ECE_BINS = 10
"""Bins that a calibration error is read from [count]; more would mistake noise for error."""


def _divided(above: Floats, below: Floats) -> Floats:
    """Quotients, NaN where there is nothing to divide by."""
    return np.asarray(np.divide(above, below, out=np.full(np.broadcast(above, below).shape, np.nan), where=below > 0))


def mean_loss(n: Floats, sums: Floats) -> Floats:
    """Mean of a loss."""
    return _divided(sums[..., 0] / MILLIONTHS_PER_UNIT, n)


def root_mean_square(n: Floats, sums: Floats) -> Floats:
    """Root of a mean, for root mean squared errors."""
    return np.sqrt(mean_loss(n, sums))


def _binned(sums: Floats) -> tuple[Floats, Floats, Floats]:
    """Requests, positives and sums of scores by bin."""
    return (
        sums[..., :SCORE_BINS],
        sums[..., SCORE_BINS : 2 * SCORE_BINS],
        sums[..., 2 * SCORE_BINS :] / MILLIONTHS_PER_UNIT,
    )


def calibration_error(n: Floats, sums: Floats) -> Floats:
    """Expected calibration error: mean gap between score and frequency over ten equal bins.

    Source: Naeini, Cooper and Hauskrecht (2015), AAAI, equation 1.
    """
    wide = (*sums.shape[:-1], _ECE_BINS, SCORE_BINS // _ECE_BINS)
    _, positives, scores = (part.reshape(wide).sum(axis=-1) for part in _binned(sums))
    return _divided(np.abs(scores - positives).sum(axis=-1), n)


def misranked_share(_n: Floats, sums: Floats) -> Floats:
    """Share of pairs of a positive and a negative that the scores put in the wrong order: one minus the AUC.

    Scores in the same bin are half wrong.

    Source: Hanley and McNeil (1982), Radiology 143(1): the area is the chance of a right order.
    """
    requests, positives, _ = _binned(sums)
    negatives = requests - positives
    below = np.cumsum(negatives, axis=-1) - negatives
    right = (positives * (below + 0.5 * negatives)).sum(axis=-1)
    return 1.0 - _divided(right, positives.sum(axis=-1) * negatives.sum(axis=-1))


def _rate(metric: Metric, n: Floats, sums: Floats) -> Floats:
    """A rate of each group; sums are hits, false alarms, misses, correct rejections."""
    hits, alarms, misses, rejections = (sums[..., index] for index in range(4))
    match metric:
        case Metric.TPR_GAP:
            return _divided(hits, hits + misses)
        case Metric.FPR_GAP:
            return _divided(alarms, alarms + rejections)
        case _:
            return _divided(hits + alarms, n)


def group_metric_values(metric: Metric, n: Floats, sums: Floats) -> Floats:
    """The value of each group, shape (..., groups), whose largest difference a gap is.

    Source: Hardt, Price and Srebro (2016), NeurIPS (true and false positive rates); Feldman et al. (2015), KDD
    (selection rates).
    """
    return mean_loss(n, sums) if metric is Metric.LOSS_GAP else _rate(metric, n, sums)


def _largest_gap(metric: Metric) -> BlockMetric:
    """Largest difference between two groups; the groups are the last axis but one of the sums."""

    def spread(n: Floats, sums: Floats) -> Floats:
        found = group_metric_values(metric, n, sums)
        return np.asarray(found.max(axis=-1) - found.min(axis=-1))

    return spread


def block_metric_for(metric: Metric) -> BlockMetric:
    """The statistic of a metric that is judged on the same requests.

    Raises:
        InvariantBroken: The metric is not.
    """
    match metric:
        case Metric.RMSE:
            return root_mean_square
        case Metric.ECE:
            return calibration_error
        case Metric.AUC:
            return misranked_share
        case Metric.TPR_GAP | Metric.FPR_GAP | Metric.SELECTION_GAP | Metric.LOSS_GAP:
            return _largest_gap(metric)
        case (
            Metric.BRIER
            | Metric.LOG_LOSS
            | Metric.ABSOLUTE_ERROR
            | Metric.SQUARED_ERROR
            | Metric.PINBALL
            | Metric.ZERO_ONE
            | Metric.COST
            | Metric.DISAGREEMENT
        ):
            return mean_loss
        case _:
            raise InvariantBroken(f"{metric} is not judged on the same requests")
