"""Losses of answers against labels agree with their textbook formulas, and refuse what holds no number."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from surefoot.core.answers.answer_values import answer_number, answer_probability
from surefoot.core.answers.losses import compute_losses, compute_predicted_classes
from surefoot.core.errors import InvariantBroken
from surefoot.core.policy.policy_types import LOSS_METRICS, Costs, Metric, PairedGate
from tests.gates import make_gate

PAIRS = st.lists(st.tuples(st.floats(0.001, 0.999), st.integers(0, 1)), min_size=1, max_size=50)
COSTS = Costs(tp=60.0, fp=20.0, fn=100.0, tn=0.0)
PRICES = np.array([[0.0, 20.0], [100.0, 60.0]])
"""Price by what came true and what was said."""
ORACLES = {
    Metric.BRIER: metrics.mean_squared_error,
    Metric.LOG_LOSS: lambda true, given: metrics.log_loss(true, given, labels=[0, 1]),
    Metric.ABSOLUTE_ERROR: metrics.mean_absolute_error,
    Metric.SQUARED_ERROR: metrics.mean_squared_error,
    Metric.RMSE: metrics.mean_squared_error,
    Metric.PINBALL: lambda true, given: metrics.mean_pinball_loss(true, given, alpha=0.8),
    Metric.COST: lambda true, given: float(
        (metrics.confusion_matrix(true, [int(p >= 0.5) for p in given], labels=[0, 1]) * PRICES).sum() / len(true)
    ),
    Metric.ZERO_ONE: lambda true, given: metrics.zero_one_loss(true, [int(p >= 0.5) for p in given]),
}


def asked(metric: Metric) -> PairedGate:
    """A gate on this loss."""
    made: PairedGate = make_gate("g", metric, where_known={"quantiles": (0.8,), "costs": COSTS})
    return made


def test_every_loss_has_an_oracle() -> None:
    """No loss goes unchecked."""
    assert set(ORACLES) == LOSS_METRICS


@pytest.mark.parametrize("metric", sorted(LOSS_METRICS))
@given(pairs=PAIRS)
def test_mean_loss_is_that_of_scikit_learn(metric: Metric, pairs: list[tuple[float, int]]) -> None:
    """The mean of the losses is the number that scikit-learn gives."""
    answers, labels = [p for p, _ in pairs], [y for _, y in pairs]
    assert float(np.mean(compute_losses(asked(metric), answers, labels))) == pytest.approx(
        ORACLES[metric](labels, answers)
    )


@pytest.mark.parametrize("metric", sorted(LOSS_METRICS))
@given(pairs=PAIRS)
def test_losses_are_finite_and_never_negative(metric: Metric, pairs: list[tuple[float, int]]) -> None:
    """Even answers that are sure and wrong have a finite loss."""
    sure = [float(round(p)) for p, _ in pairs]
    found = compute_losses(asked(metric), sure, [y for _, y in pairs])
    assert np.isfinite(found).all()
    assert (found >= 0.0).all()


@pytest.mark.parametrize(
    ("prediction", "number"),
    [
        (0.25, 0.25),
        (1, 1.0),
        (True, 1.0),
        ([0.9, 0.1], 0.1),
        ([[0.4]], 0.4),
        ({"p": 0.7}, 0.7),
        ({"p": [0.2, 0.8]}, 0.8),
    ],
)
def test_probability_in_an_answer(prediction: object, number: float) -> None:
    """A number, the second of two class probabilities, or the only value of a mapping counts."""
    assert answer_probability(prediction) == number


@pytest.mark.parametrize(
    "prediction", ["0.5", None, [], {}, {"a": 1, "b": 2}, [None], [["x"]], 10**400], ids=lambda item: f"{item!r:.20}"
)
def test_no_number_in_an_answer(prediction: object) -> None:
    """What holds no single number that can be computed with is an error, never a zero."""
    with pytest.raises(InvariantBroken):
        answer_number(prediction)
    with pytest.raises(InvariantBroken):
        compute_losses(make_gate("g", Metric.BRIER), [0.5, prediction], [0, 1])
    with pytest.raises(InvariantBroken):
        compute_losses(make_gate("g", Metric.BRIER), [0.5, 0.5], [0, prediction])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("metric", sorted(LOSS_METRICS))
def test_what_is_not_a_number_is_refused(metric: Metric, bad: float) -> None:
    """NaN and infinities have no loss; a comparison would otherwise quietly call them wrong or right."""
    with pytest.raises(InvariantBroken):
        compute_losses(asked(metric), [bad], [1])
    with pytest.raises(InvariantBroken):
        compute_losses(asked(metric), [0.5], [bad])


def test_metric_that_is_no_loss_is_refused() -> None:
    """Latency has no loss of an answer."""
    with pytest.raises(InvariantBroken, match="latency is not a loss"):
        compute_losses(make_gate("g", Metric.LATENCY), [1.0], [1.0])


def test_decisions() -> None:
    """Probabilities are cut at one half; classes are themselves."""
    assert compute_predicted_classes(np.array([0.0, 0.2, 0.5, 0.9, 1.0, 2.0, -1.0])).tolist() == [
        0.0,
        0.0,
        1.0,
        1.0,
        1.0,
        2.0,
        -1.0,
    ]


@pytest.mark.parametrize("metric", [Metric.BRIER, Metric.LOG_LOSS])
@pytest.mark.parametrize(("given_answer", "label"), [(1.5, 1), (-0.1, 0), (0.5, 2), (0.5, -1)])
def test_probabilities_are_probabilities(metric: Metric, given_answer: float, label: int) -> None:
    """A score or a label outside 0 to 1 has no log loss: it could be negative, and a bad candidate would shine."""
    with pytest.raises(InvariantBroken, match=r"probability between 0 and 1|needs labels"):
        compute_losses(asked(metric), [0.5, given_answer], [0, label])


CLASSES = ("low", "mid", "high")
THREE = st.lists(
    st.tuples(st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3), st.sampled_from(CLASSES)), min_size=1, max_size=40
)


@given(pairs=THREE)
def test_losses_of_many_classes_are_those_of_scikit_learn(pairs: list[tuple[list[float], str]]) -> None:
    """With three classes log loss and zero-one loss agree with scikit-learn, whether a label is a name or a number."""
    given_ = [[p / sum(row) for p in row] for row, _ in pairs]
    named = [label for _, label in pairs]
    numbered = [CLASSES.index(label) for label in named]
    for metric, oracle in (
        (Metric.LOG_LOSS, metrics.log_loss(numbered, given_, labels=[0, 1, 2])),
        (Metric.ZERO_ONE, metrics.zero_one_loss(numbered, np.argmax(given_, axis=1))),
    ):
        gate = make_gate("g", metric, classes=CLASSES)
        for labels in (named, numbered):
            assert float(np.mean(compute_losses(gate, given_, labels))) == pytest.approx(oracle)
        mapped = [dict(zip(CLASSES, row, strict=True)) for row in given_]
        assert compute_losses(gate, mapped, named) == pytest.approx(compute_losses(gate, given_, named))


@pytest.mark.parametrize("row", [[0.5, 0.5], [0.5, 0.5, 0.5], [1.5, -0.5, 0.0], 0.5, {"low": 1.0}])
def test_what_is_no_distribution_is_refused(row: object) -> None:
    """Class probabilities that are too few, negative, or do not add up to one have no loss."""
    with pytest.raises(InvariantBroken):
        compute_losses(make_gate("g", Metric.LOG_LOSS, classes=CLASSES), [row], ["low"])


@pytest.mark.parametrize("label", ["lowest", 3, -1, 0.5, True, None])
def test_label_that_is_no_class_is_refused(label: object) -> None:
    """A label outside the classes is an error, never the nearest class."""
    with pytest.raises(InvariantBroken):
        compute_losses(make_gate("g", Metric.ZERO_ONE, classes=CLASSES), [[0.2, 0.3, 0.5]], [label])
