"""Losses of answers against labels, one value a request; what cannot be scored is an error, never a zero."""

import re
import sys
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from surefoot.core.canonical_text import canonical_text
from surefoot.core.errors import InvariantBroken
from surefoot.core.policy.model import Gate, Metric

Floats = NDArray[np.float64]
EPSILON = 1e-15
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.0)?")
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
    if metric is Metric.ZERO_ONE:
        return _wrong(gate, answers, labels)
    if gate.classes and metric in {Metric.BRIER, Metric.LOG_LOSS}:
        return _classes(metric, _distributions(answers, gate.classes), _indices(labels, gate.classes))
    given, true = scores(gate, answers), truths(gate, labels)
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
        case Metric.COST if gate.costs:
            yes, came = given >= gate.threshold, true >= HALF
            alerted = np.where(came, gate.costs.tp, gate.costs.fp)
            return np.where(yes, alerted, np.where(came, gate.costs.fn, gate.costs.tn)).astype(np.float64)
        case _:
            raise InvariantBroken(f"{metric} is not a loss")


def decisions(given: Floats, threshold: float = HALF) -> Floats:
    """Class of each answer: probabilities at a threshold, everything else as it is."""
    return np.where((given > 0.0) & (given < 1.0), (given >= threshold).astype(np.float64), given)


def scores(gate: Gate, answers: Sequence[object] | Floats) -> Floats:
    """The probability of the positive class in every answer, or its number, shape (n,); the last class is the positive.

    Raises:
        InvariantBroken: One of them holds no single finite number.
    """
    if not gate.classes or isinstance(answers, np.ndarray):
        return numbers(answers)
    known, last = _known(gate.classes), canonical_text(gate.classes[-1])
    made: list[object] = []
    for item in answers:
        if isinstance(item, dict) and len(item) > 1:
            made.append({canonical_text(key): value for key, value in item.items()}.get(last))
        else:
            index = _index(known, item) if isinstance(item, str) else None
            made.append(item if index is None else float(index == len(gate.classes) - 1))
    return numbers(made)


def truths(gate: Gate, labels: Sequence[object] | Floats) -> Floats:
    """Labels as numbers, shape (n,); 1 for the last class and 0 for the other where the policy names both.

    Raises:
        InvariantBroken: One of them holds no single finite number, or names no class.
    """
    if gate.classes:
        return _indices(labels, gate.classes).astype(np.float64)
    if not isinstance(labels, np.ndarray) and any(
        isinstance(label, str) for label in labels
    ):  # "1" is 1, as everywhere
        labels = [float(x) if isinstance(x, str) and _NUMBER.fullmatch(x) else x for x in labels]
    return numbers(labels)


def differ(first: Sequence[object] | Floats, second: Sequence[object] | Floats, threshold: float) -> NDArray[np.bool_]:
    """On which requests two versions decide differently, shape (n,); texts and distributions are compared as classes.

    Raises:
        InvariantBroken: An answer holds neither a number nor a class.
    """
    if not _wordy(first) and not _wordy(second):
        one, other = (decisions(numbers(side), threshold) for side in (first, second))
        return np.asarray(~np.isclose(one, other, rtol=1e-3))
    return np.array(
        [_word(a, threshold) != _word(b, threshold) for a, b in zip(first, second, strict=True)], dtype=bool
    )


def _wordy(items: Sequence[object] | Floats) -> bool:
    """Whether some answer or label is a class by its name, or a distribution over more than two classes."""
    return not isinstance(items, np.ndarray) and any(
        isinstance(item, str) or (isinstance(item, list | dict) and len(item) > 2)  # noqa: PLR2004 - two classes are one number
        for item in items
    )


def _word(item: object, threshold: float = HALF) -> str:
    """The class that an answer or a label stands for."""
    if isinstance(item, list | dict) and len(item) > 2:  # noqa: PLR2004 - same
        rows = list(item.items()) if isinstance(item, dict) else list(enumerate(item))
        return f"class {max(rows, key=lambda row: answer(row[1]))[0]}"
    text = canonical_text(item) if isinstance(item, str | bool) else None
    if text is None:
        text = canonical_text(float(decisions(np.array([answer(item)]), threshold)[0]))
    if text is None:
        raise InvariantBroken("an answer or a label is an empty text")
    return text


def _wrong(gate: Gate, answers: Sequence[object] | Floats, labels: Sequence[object] | Floats) -> Floats:
    """One where the class that an answer stands for is not the one that came true, by name where there are names."""
    if gate.classes:
        return np.not_equal(_chosen(answers, gate), _indices(labels, gate.classes)).astype(np.float64)
    if _wordy(answers) or _wordy(labels):
        return _unequal_words(answers, labels)
    return np.not_equal(decisions(numbers(answers), gate.threshold), decisions(numbers(labels))).astype(np.float64)


def _unequal_words(answers: Sequence[object] | Floats, labels: Sequence[object] | Floats) -> Floats:
    """One where a class is not the one that came true, by their names."""
    for item in answers:
        if not isinstance(item, str) and (isinstance(item, list | dict) or not float(answer(item)).is_integer()):
            raise InvariantBroken("probabilities cannot be held against labels that are texts without 'classes'")
    return np.array([_word(a) != _word(b) for a, b in zip(answers, labels, strict=True)], dtype=np.float64)


def _known(classes: Sequence[str]) -> dict[str | None, int]:
    return {canonical_text(name): index for index, name in enumerate(classes)}


def _chosen(answers: Sequence[object] | Floats, gate: Gate) -> NDArray[np.int64]:
    """Position of the class that every answer names, or finds the most probable; of two by the threshold."""
    known, two = _known(gate.classes), len(gate.classes) == 2  # noqa: PLR2004 - two classes are one number
    made = []
    for item in answers:
        index = None if isinstance(item, list | dict) else _index(known, item)
        if index is None and isinstance(item, str):
            raise InvariantBroken(f"the answer {item!r:.80} is none of the classes {', '.join(gate.classes)}")
        if index is None:
            row = _distributions([item], gate.classes)[0]
            index = int(row[1] >= gate.threshold) if two else int(row.argmax())
        made.append(index)
    return np.array(made, dtype=np.int64)


def _distributions(answers: Sequence[object] | Floats, classes: Sequence[str]) -> Floats:
    """Probabilities of every class, shape (n, classes)."""
    rows = [_distribution(item, classes) for item in answers]
    for row in rows:
        if not isinstance(row, list) or len(row) != len(classes):
            raise InvariantBroken(f"expected {len(classes)} class probabilities, found {row!r:.80}")
    made = np.array([[answer(cell) for cell in row] for row in rows if isinstance(row, list)], dtype=np.float64)
    if (made < 0.0).any() or (np.abs(made.sum(axis=1) - 1.0) > SURE * 1000).any():
        raise InvariantBroken("class probabilities must not be negative and must add up to one")
    return made


def _distribution(item: object, classes: Sequence[str]) -> object:
    """The probabilities in one answer, in the order of the classes; one number is the last one's of two."""
    if isinstance(item, dict):
        named = {canonical_text(key): value for key, value in item.items()}
        return [named.get(canonical_text(name)) for name in classes]
    if isinstance(item, int | float) and len(classes) == 2 and 0.0 <= item <= 1.0:  # noqa: PLR2004 - two classes
        return [1.0 - float(item), float(item)]
    return item


def _indices(labels: Sequence[object] | Floats, classes: Sequence[str]) -> NDArray[np.int64]:
    """Position of every label among the classes; a label may be the name of a class or its number."""
    known = _known(classes)
    made = []
    for label in labels:
        index = _index(known, label)
        if index is None:
            raise InvariantBroken(f"the label {label!r:.80} is none of the classes {', '.join(classes)}")
        made.append(index)
    return np.array(made, dtype=np.int64)


def _index(known: Mapping[str | None, int], value: object) -> int | None:
    """Position of a class by its name, or by its number where no class is named by a number; None for neither."""
    text = canonical_text(value)
    if text in known:
        return known[text]
    if text is None or isinstance(value, str | bool) or not text.isdecimal() or any(map(_numeric, known)):
        return None
    return int(text) if int(text) < len(known) else None


def _numeric(name: str | None) -> bool:
    return name is not None and name.lstrip("-").replace(".", "", 1).isdecimal()


def _classes(metric: Metric, given: Floats, true: NDArray[np.int64]) -> Floats:
    """Losses over more than two classes."""
    rows = np.arange(len(true))
    match metric:
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
