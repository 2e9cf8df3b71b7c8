"""Compute each answer's loss against its label, its predicted class and its positive-class score."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from surefoot.core.answers.answer_values import (
    Floats,
    answer_numbers,
    answer_probabilities,
    answer_probability,
    pair_outputs_with_labels,
    unwrap_single_value,
)
from surefoot.core.answers.class_mapping import (
    NumberInterpretation,
    NumberInterpretationCounts,
    decide_number_interpretations,
    find_class_indices,
    find_named_class_index,
    has_ambiguous_numbers,
    read_class_probabilities,
)
from surefoot.core.answers.class_names import convert_to_class_name, is_numeric_class_name
from surefoot.core.errors import InvariantBroken
from surefoot.core.policy.policy_types import (
    CostGate,
    Gate,
    Metric,
    PinballGate,
    get_gate_class_names,
    get_gate_loss,
    get_gate_threshold,
    narrow_gate_type,
)

_PROBABILITY_FLOOR = 1e-15
_DEFAULT_THRESHOLD = 0.5
NUMBER_LOSSES = frozenset({Metric.ABSOLUTE_ERROR, Metric.SQUARED_ERROR, Metric.RMSE, Metric.PINBALL})
"""Losses of a number, or of as many as the label has."""


def compute_losses(
    gate: Gate,
    answers: Sequence[object] | Floats,
    labels: Sequence[object] | Floats,
    reading: NumberInterpretation | None = None,
) -> Floats:
    """Loss of each answer.

    Args:
        gate: Its metric is one of the losses; for a gap of losses its `of` is.
        answers: As the model gave them; for brier and log_loss probabilities of the positive class, or one a class.
        labels: What came true, in the same order; 0 or 1 for brier and log_loss, or the name of a class.
        reading: What numbers are where they may be names of classes or probabilities; by default these answers tell.

    Returns:
        Losses [unit of the metric], shape (n,).

    Raises:
        InvariantBroken: An answer or a label holds no number, a probability is none, or the metric is not a loss.

    Law: each pair is read by itself; its loss does not depend on the others, once the reading is given.

    Source: Brier (1950), Monthly Weather Review 78(1), for brier; Koenker and Bassett (1978), Econometrica 46(1), for
        pinball.
    """
    metric, classes = get_gate_loss(gate), get_gate_class_names(gate)
    reading = reading or _reading(gate, answers)
    if metric is Metric.ZERO_ONE:
        return _wrong(gate, answers, labels, reading)
    if metric in NUMBER_LOSSES:
        return _of_numbers(gate, metric, answers, labels)
    if classes and metric in {Metric.BRIER, Metric.LOG_LOSS}:
        rows = np.array([read_class_probabilities(item, classes, reading) for item in answers], dtype=np.float64)
        return _classes(metric, rows, find_class_indices(labels, classes))
    given, true = compute_positive_class_scores(gate, answers, reading), convert_labels_to_numbers(gate, labels)
    match metric:
        case Metric.BRIER:
            return np.square(given - true)
        case Metric.LOG_LOSS:
            clipped = np.clip(given, _PROBABILITY_FLOOR, 1.0 - _PROBABILITY_FLOOR)
            return np.negative(true * np.log(clipped) + (1.0 - true) * np.log(1.0 - clipped))
        case Metric.COST if isinstance(gate, CostGate):
            yes, came = given >= gate.threshold, true >= _DEFAULT_THRESHOLD
            alerted = np.where(came, gate.costs.tp, gate.costs.fp)
            return np.where(yes, alerted, np.where(came, gate.costs.fn, gate.costs.tn)).astype(np.float64)
        case _:
            raise InvariantBroken(f"{metric} is not a loss")


def compute_predicted_classes(given: Floats, threshold: float = _DEFAULT_THRESHOLD) -> Floats:
    """Class of each answer: probabilities at a threshold, everything else as it is."""
    return np.where((given > 0.0) & (given < 1.0), (given >= threshold).astype(np.float64), given)


def compute_positive_class_scores(
    gate: Gate, answers: Sequence[object] | Floats, reading: NumberInterpretation | None = None
) -> Floats:
    """The probability of yes in every answer, shape (n,); of named classes the last one is yes.

    Raises:
        InvariantBroken: One of them holds none, or names no class.
    """
    reading = reading or _reading(gate, answers)
    classes = get_gate_class_names(gate)
    if not classes:
        return answer_probabilities(answers)
    if isinstance(answers, np.ndarray):
        numbered = has_ambiguous_numbers(classes) and reading is NumberInterpretation.NAMES
        if not numbered and bool(((answers >= 0.0) & (answers <= 1.0)).all()):
            return answers
        some, where = np.unique(answers, return_inverse=True)
        return compute_positive_class_scores(gate, some.tolist(), reading)[where]
    made = []
    for item in answers:
        index = find_named_class_index(item, classes, reading)
        found = read_class_probabilities(item, classes, reading)[-1] if index is None else index == len(classes) - 1
        made.append(float(found))
    return np.array(made, dtype=np.float64)


def convert_labels_to_numbers(gate: Gate, labels: Sequence[object] | Floats) -> Floats:
    """Labels as numbers between 0 and 1, shape (n,); 1 for the last class, 0 for the other where the policy names both.

    Raises:
        InvariantBroken: One of them is none, or names no class.
    """
    if classes := get_gate_class_names(gate):
        return find_class_indices(labels, classes).astype(np.float64)
    made = answer_numbers(labels)
    if ((made < 0.0) | (made > 1.0)).any():
        raise InvariantBroken(f"{gate.metric} needs labels of 0 or 1, or 'classes' in the policy")
    return made


def _reading(gate: Gate, answers: Sequence[object] | Floats) -> NumberInterpretation:
    """What the numbers among all answers are."""
    classes = get_gate_class_names(gate)
    if not has_ambiguous_numbers(classes):
        return NumberInterpretation.NAMES
    kinds = NumberInterpretationCounts()
    kinds.add(classes, answers)
    return decide_number_interpretations(kinds, kinds)[0]


def _of_numbers(
    gate: Gate, metric: Metric, answers: Sequence[object] | Floats, labels: Sequence[object] | Floats
) -> Floats:
    """Losses of numbers; that of several outputs is their mean."""
    if isinstance(answers, np.ndarray) and isinstance(labels, np.ndarray):
        return _apart(gate, metric, answer_numbers(answers), answer_numbers(labels))
    pairs = [pair_outputs_with_labels(given, true) for given, true in zip(answers, labels, strict=True)]
    counts = np.array([len(pair) for pair in pairs], dtype=np.int64)
    if not counts.all():
        raise InvariantBroken("no number to score in an empty answer")
    flat = np.array([cell for pair in pairs for cell in pair], dtype=np.float64).reshape(-1, 2)
    found = _apart(gate, metric, flat[:, 0], flat[:, 1])
    if (counts == 1).all():
        return found
    return np.asarray(np.add.reduceat(found, np.cumsum(counts) - counts) / counts)


def _apart(gate: Gate, metric: Metric, given: Floats, true: Floats) -> Floats:
    match metric:
        case Metric.ABSOLUTE_ERROR:
            return np.absolute(given - true)
        case Metric.PINBALL:
            quantile = narrow_gate_type(gate, PinballGate).quantile
            return np.maximum(quantile * (true - given), (quantile - 1.0) * (true - given))
        case _:
            return np.square(given - true)


def _wrong(
    gate: Gate, answers: Sequence[object] | Floats, labels: Sequence[object] | Floats, reading: NumberInterpretation
) -> Floats:
    """One where the class that an answer stands for is not the one that came true."""
    classes, threshold = get_gate_class_names(gate), get_gate_threshold(gate)
    if classes:
        chosen = _chosen(answers, classes, threshold, reading)
        return np.not_equal(chosen, find_class_indices(labels, classes)).astype(np.float64)
    if isinstance(answers, np.ndarray) and isinstance(labels, np.ndarray):
        given, true = answer_numbers(answers), answer_numbers(labels)
        unsure, unclear = (given > 0.0) & (given < 1.0), (true > 0.0) & (true < 1.0)
        if (unclear | (unsure & (true != 0.0) & (true != 1.0))).any():
            raise InvariantBroken("a probability can only be held against a label of 0 or 1")
        return np.not_equal(compute_predicted_classes(given, threshold), true).astype(np.float64)
    pairs = zip(answers, labels, strict=True)
    return np.array([_is_wrong(given, true, threshold) for given, true in pairs], dtype=np.float64)


def _is_wrong(given: object, true: object, threshold: float) -> bool:
    """Whether an answer is not the class that came true; both are read without a policy that names classes.

    Raises:
        InvariantBroken: A probability is held against a label other than 0 and 1, or a number against a word.
    """
    given, true = unwrap_single_value(given), unwrap_single_value(true)
    label = convert_to_class_name(true)
    if _is_fraction(true):
        raise InvariantBroken(f"the label {true!r:.80} is no class")
    if isinstance(given, list | dict) or _is_fraction(given):
        if label not in {"0", "1"}:
            raise InvariantBroken("probabilities cannot be held against labels that are texts without 'classes'")
        return label != ("1" if answer_probability(given) >= threshold else "0")
    answer = convert_to_class_name(given)
    if _is_word(given, answer) != _is_word(true, label) and not (isinstance(given, str) and isinstance(true, str)):
        raise InvariantBroken("numbers cannot be held against labels that are words without 'classes'")
    return answer != label


def _is_fraction(value: object) -> bool:
    return isinstance(value, float) and 0.0 < value < 1.0


def _is_word(value: object, text: str) -> bool:
    return isinstance(value, str) and not is_numeric_class_name(text)


def _chosen(
    answers: Sequence[object] | Floats, classes: tuple[str, ...], threshold: float, reading: NumberInterpretation
) -> NDArray[np.int64]:
    """Position of the class that every answer names, or finds the most probable; of two by the threshold."""
    made = []
    for item in answers.tolist() if isinstance(answers, np.ndarray) else answers:
        index = find_named_class_index(item, classes, reading)
        if index is None:
            row = read_class_probabilities(item, classes, reading)
            two = len(row) == 2  # noqa: PLR2004 - two classes have a threshold
            index = int(row[1] >= threshold) if two else int(np.argmax(row))
        made.append(index)
    return np.array(made, dtype=np.int64)


def _classes(metric: Metric, given: Floats, true: NDArray[np.int64]) -> Floats:
    """Losses of distributions over named classes."""
    rows = np.arange(len(true))
    if metric is Metric.LOG_LOSS:
        clipped = np.clip(given, _PROBABILITY_FLOOR, 1.0)
        logs: Floats = np.negative(np.log(clipped))
        return np.asarray(logs[rows, true], dtype=np.float64)
    hot = np.zeros_like(given)
    hot[rows, true] = 1.0
    return np.asarray(np.square(given - hot).sum(axis=1))
