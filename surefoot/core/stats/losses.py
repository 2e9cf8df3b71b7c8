"""Losses of answers against labels, one value a request; what cannot be scored is an error, never a zero."""

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from surefoot.core.errors import InvariantBroken
from surefoot.core.policy import Metric

Floats = NDArray[np.float64]
EPSILON = 1e-15
HALF = 0.5


def answer(prediction: object) -> float:
    """The number in one answer: itself, the last class probability of a list, or the only value of a mapping.

    Raises:
        InvariantBroken: There is no single finite number in it.
    """
    if isinstance(prediction, list) and prediction:
        return answer(prediction[-1])
    if isinstance(prediction, dict) and len(prediction) == 1:
        return answer(next(iter(prediction.values())))
    if isinstance(prediction, bool | int | float) and abs(prediction) <= sys.float_info.max:
        return float(prediction)
    raise InvariantBroken(f"no number to score in the answer {prediction!r:.80}")


def losses(metric: Metric, answers: Sequence[object], labels: Sequence[object]) -> Floats:
    """Loss of each answer.

    Args:
        metric: One of the losses.
        answers: As the model gave them; for brier and log_loss probabilities of the positive class.
        labels: What came true, in the same order; 0 or 1 for brier and log_loss.

    Returns:
        Losses [unit of the metric], shape (n,).

    Raises:
        InvariantBroken: An answer or a label holds no number, a probability is none, or the metric is not a loss.

    Source: Brier (1950), Monthly Weather Review 78(1), for brier.
    """
    given = np.array([answer(item) for item in answers], dtype=np.float64)
    true = np.array([answer(item) for item in labels], dtype=np.float64)
    if metric in {Metric.BRIER, Metric.LOG_LOSS}:
        for name, values in (("answer", given), ("label", true)):
            if ((values < 0.0) | (values > 1.0)).any():
                odd = values[(values < 0.0) | (values > 1.0)][0]
                raise InvariantBroken(f"{metric} needs probabilities and labels of 0 or 1; there is the {name} {odd:g}")
    match metric:
        case Metric.BRIER:
            return np.square(given - true)
        case Metric.LOG_LOSS:
            clipped = np.clip(given, EPSILON, 1.0 - EPSILON)
            return np.negative(true * np.log(clipped) + (1.0 - true) * np.log(1.0 - clipped))
        case Metric.ABSOLUTE_ERROR:
            return np.absolute(given - true)
        case Metric.SQUARED_ERROR:
            return np.square(given - true)
        case Metric.ZERO_ONE:
            return np.not_equal(decisions(given), decisions(true)).astype(np.float64)
        case _:
            raise InvariantBroken(f"{metric} is not a loss")


def decisions(given: Floats) -> Floats:
    """Class of each answer: probabilities at one half, everything else as it is."""
    return np.where((given > 0.0) & (given < 1.0), (given >= HALF).astype(np.float64), given)
