"""Losses of answers against labels, one value a request; what cannot be scored is an error, never a zero."""

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from surefoot.core.errors import InvariantBroken
from surefoot.core.policy import Gate, Metric

Floats = NDArray[np.float64]
EPSILON = 1e-15
HALF = 0.5
SURE = 1e-6
"""How far class probabilities may be from adding up to one."""


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


def numbers(items: Sequence[object] | Floats) -> Floats:
    """The number in every answer, shape (n,); an array of numbers is taken as it is.

    Raises:
        InvariantBroken: One of them holds no single finite number.
    """
    if isinstance(items, np.ndarray):
        if not np.isfinite(items).all():
            raise InvariantBroken("no number to score in an answer that is not finite")
        return items
    return np.array([answer(item) for item in items], dtype=np.float64)


def losses(gate: Gate, answers: Sequence[object] | Floats, labels: Sequence[object] | Floats) -> Floats:
    """Loss of each answer.

    Args:
        gate: Its metric is one of the losses; for a gap of losses its `of` is.
        answers: As the model gave them; for brier and log_loss probabilities of the positive class, or one a class.
        labels: What came true, in the same order; 0 or 1 for brier and log_loss, or the name of a class.

    Returns:
        Losses [unit of the metric], shape (n,).

    Raises:
        InvariantBroken: An answer or a label holds no number, a probability is none, or the metric is not a loss.

    Source: Brier (1950), Monthly Weather Review 78(1), for brier; Koenker and Bassett (1978), Econometrica 46(1), for
        pinball.
    """
    metric = gate.of or gate.metric
    if gate.classes:
        return _classes(metric, _distributions(answers, gate.classes), _indices(labels, gate.classes))
    given, true = numbers(answers), numbers(labels)
    if metric in {Metric.BRIER, Metric.LOG_LOSS, Metric.COST}:
        for name, values in (("answer", given), ("label", true)):
            if ((values < 0.0) | (values > 1.0)).any():
                odd = values[(values < 0.0) | (values > 1.0)][0]
                raise InvariantBroken(f"{metric} needs probabilities and labels of 0 or 1; there is the {name} {odd:g}")
    match metric:
        case Metric.BRIER | Metric.SQUARED_ERROR | Metric.RMSE:
            return np.square(given - true)
        case Metric.LOG_LOSS:
            clipped = np.clip(given, EPSILON, 1.0 - EPSILON)
            return np.negative(true * np.log(clipped) + (1.0 - true) * np.log(1.0 - clipped))
        case Metric.ABSOLUTE_ERROR:
            return np.absolute(given - true)
        case Metric.PINBALL:
            return np.maximum(gate.quantiles[0] * (true - given), (gate.quantiles[0] - 1.0) * (true - given))
        case Metric.ZERO_ONE:
            return np.not_equal(decisions(given, gate.threshold), decisions(true)).astype(np.float64)
        case Metric.COST if gate.costs:
            yes, came = given >= gate.threshold, true >= HALF
            alerted = np.where(came, gate.costs.tp, gate.costs.fp)
            return np.where(yes, alerted, np.where(came, gate.costs.fn, gate.costs.tn)).astype(np.float64)
        case _:
            raise InvariantBroken(f"{metric} is not a loss")


def decisions(given: Floats, threshold: float = HALF) -> Floats:
    """Class of each answer: probabilities at a threshold, everything else as it is."""
    return np.where((given > 0.0) & (given < 1.0), (given >= threshold).astype(np.float64), given)


def _distributions(answers: Sequence[object] | Floats, classes: Sequence[str]) -> Floats:
    """Probabilities of every class, shape (n, classes)."""
    rows = [[item.get(name) for name in classes] if isinstance(item, dict) else item for item in answers]
    for row in rows:
        if not isinstance(row, list) or len(row) != len(classes):
            raise InvariantBroken(f"expected {len(classes)} class probabilities, found {row!r:.80}")
    made = np.array([[answer(cell) for cell in row] for row in rows if isinstance(row, list)], dtype=np.float64)
    if (made < 0.0).any() or (np.abs(made.sum(axis=1) - 1.0) > SURE * 1000).any():
        raise InvariantBroken("class probabilities must not be negative and must add up to one")
    return made


def _indices(labels: Sequence[object] | Floats, classes: Sequence[str]) -> NDArray[np.int64]:
    """Position of every label among the classes; a label may be the name of a class or its number."""
    known = {name: index for index, name in enumerate(classes)}
    made = []
    for label in labels:
        index = known.get(str(label), label)
        if isinstance(index, bool) or not isinstance(index, int | float) or index not in range(len(classes)):
            raise InvariantBroken(f"the label {label!r:.80} is none of the classes {', '.join(classes)}")
        made.append(int(index))
    return np.array(made, dtype=np.int64)


def _classes(metric: Metric, given: Floats, true: NDArray[np.int64]) -> Floats:
    """Losses over more than two classes."""
    rows = np.arange(len(true))
    match metric:
        case Metric.ZERO_ONE:
            missed: Floats = np.not_equal(given.argmax(axis=1), true).astype(np.float64)
            return missed
        case Metric.LOG_LOSS:
            clipped = np.clip(given, EPSILON, 1.0)
            logs: Floats = np.negative(np.log(clipped))
            return np.asarray(logs[rows, true], dtype=np.float64)
        case Metric.BRIER:
            hot = np.zeros_like(given)
            hot[rows, true] = 1.0
            return np.asarray(np.square(given - hot).sum(axis=1))
        case _:
            raise InvariantBroken(f"{metric} is not defined for more than two classes")
