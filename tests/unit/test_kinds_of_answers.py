"""What kind of value an answer or a label is never turns a FAIL into a PASS."""

from collections.abc import Sequence

import numpy as np
import pytest

from surefoot.adapters.evidence.paired.paired_loss_evidence import build_paired_loss_evidence
from surefoot.adapters.evidence.paired.scored_batch import AnswerColumn, ScoredBatch
from surefoot.adapters.predictions.validation_table import answers_to_frame
from surefoot.core.domain import Outcome, Verdict
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import Metric, PairedGate
from tests.gates import make_gate

N = 1500
DRAWN = np.random.default_rng(7)
COIN = [bool(value) for value in DRAWN.random(N) < 0.5]
GROUPS = ["a" if value else "b" for value in DRAWN.random(N) < 0.5]


def judged(gate: PairedGate, champion: AnswerColumn, candidate: AnswerColumn, labels: AnswerColumn) -> Verdict:
    """The verdict on a month of requests."""
    at = np.sort(np.random.default_rng(0).uniform(0.0, 30 * 86400.0, N))
    ids = [f"q{index}" for index in range(N)]
    batch = ScoredBatch(at, champion, candidate, labels, np.zeros(N, dtype=bool), columns={"g": GROUPS}, ids=ids)
    return judge(gate, build_paired_loss_evidence(gate, 0.0, 1e9, [batch]).evidence(), DecisionThresholds(0.005))


@pytest.mark.parametrize("odd", [None, "1", 1, 1.0, "late", "NaN", [1]], ids=str)
@pytest.mark.parametrize("side", ["label", "candidate"])
def test_one_value_of_another_kind_hides_no_candidate_that_is_always_wrong(side: str, odd: object) -> None:
    """A candidate that is always wrong fails, whatever kind one of the labels or of its answers is."""
    labels: list[object] = list(COIN)
    answers: list[object] = [int(not value) for value in COIN]
    (labels if side == "label" else answers)[COIN.index(True)] = odd
    champion = [int(value) for value in COIN]
    assert judged(make_gate("q", Metric.ZERO_ONE, margin=0.05), champion, answers, labels).outcome is Outcome.FAIL
    if side == "candidate":
        gate = make_gate("q", Metric.DISAGREEMENT, margin=None, limit=0.1)
        assert judged(gate, champion, answers, [None] * N).outcome is Outcome.FAIL


def test_an_equal_version_that_answers_in_another_kind_is_equal() -> None:
    """True, 1, 1.0 and "1" are one class: a version that answers with another of them disagrees nowhere."""
    kinds = [[kind(value) for value in COIN] for kind in (bool, int, float, lambda value: str(int(value)))]
    for answers in kinds:
        gate = make_gate("q", Metric.DISAGREEMENT, margin=None, limit=0.1)
        assert judged(gate, kinds[0], answers, [None] * N).outcome is Outcome.PASS
        for labels in kinds:
            assert (
                judged(make_gate("q", Metric.ZERO_ONE, margin=0.05), kinds[1], answers, labels).outcome is Outcome.PASS
            )


def test_numbers_against_words_are_an_error() -> None:
    """Answers of 0 and 1 against labels that are words would all be wrong, in both versions: an ERROR, not a PASS."""
    answers = [int(value) for value in COIN]
    labels = ["late" if value else "on time" for value in COIN]
    verdict = judged(make_gate("q", Metric.ZERO_ONE, margin=0.05), answers, [1 - x for x in answers], labels)
    assert verdict.outcome is Outcome.ERROR
    assert "'classes'" in verdict.reason


@pytest.mark.parametrize("kind", [list, np.array], ids=["logged", "recorded"])
@pytest.mark.parametrize("metric", [Metric.SELECTION_GAP, Metric.TPR_GAP, Metric.FPR_GAP])
def test_a_gap_fails_where_classes_are_numbers(metric: Metric, kind: type) -> None:
    """A candidate that says yes to one group only fails, with classes 1 and 2 as with 0 and 1."""
    fair = [1 + int(value) for value in DRAWN.random(N) < 0.5]
    unfair = [2 if group == "a" else 1 for group in GROUPS]
    labels = [1 + int(value) for value in COIN]
    sides = [kind([float(x) for x in side]) for side in (fair, unfair, labels)]
    named = make_gate("f", metric, by=("g",), classes=("1", "2"), margin=0.05)
    assert judged(named, *sides).outcome is Outcome.FAIL
    plain = make_gate("f", metric, by=("g",), margin=0.05)
    verdict = judged(plain, *sides)
    assert verdict.outcome is Outcome.ERROR
    assert "'classes' in the policy" in verdict.reason


@pytest.mark.parametrize("metric", [Metric.AUC, Metric.ECE, Metric.BRIER])
def test_labels_of_1_and_2_are_no_labels_of_0_and_1(metric: Metric) -> None:
    """Without `classes` the labels 1 and 2 are an ERROR; with them a candidate that is always wrong fails."""
    right = [0.9 if value else 0.1 for value in COIN]
    labels = [1 + int(value) for value in COIN]
    wrong = [1.0 - value for value in right]
    assert judged(make_gate("q", metric, margin=0.05), right, wrong, labels).outcome is Outcome.ERROR
    named = make_gate("q", metric, margin=0.05, classes=("1", "2"))
    assert judged(named, right, wrong, labels).outcome is Outcome.FAIL


OUTPUTS = [[5.0 + value, 7.0 + value] for value in DRAWN.random(N).tolist()]
BROKEN = [[1000.0 * first, second] for first, second in OUTPUTS]


@pytest.mark.parametrize("metric", [Metric.ABSOLUTE_ERROR, Metric.SQUARED_ERROR, Metric.RMSE, Metric.PINBALL])
@pytest.mark.parametrize("named", [False, True], ids=["list", "object"])
def test_every_output_is_judged(metric: Metric, *, named: bool) -> None:
    """A candidate that is wrong in the first of two outputs fails, where the label has two as well."""

    def made(rows: Sequence[Sequence[float]]) -> list[object]:
        return [{"a": a, "b": b} if named else [a, b] for a, b in rows]

    gate = make_gate("q", metric, margin=0.5, where_known={"quantiles": (0.5,)})
    labels = made([[5.5, 7.5]] * N)
    assert judged(gate, made(OUTPUTS), made(BROKEN), labels).outcome is Outcome.FAIL
    assert judged(gate, made(OUTPUTS), made(OUTPUTS), labels).outcome is Outcome.PASS
    verdict = judged(gate, made(OUTPUTS), made(BROKEN), [5.5] * N)
    assert verdict.outcome is Outcome.ERROR
    assert "a label with as many" in verdict.reason


@pytest.mark.parametrize("length", [2, 3])
def test_versions_disagree_where_any_output_differs(length: int) -> None:
    """Two versions disagree where one of several outputs differs, whichever it is."""
    gate = make_gate("q", Metric.DISAGREEMENT, margin=None, limit=0.1)
    old = [[1.0, *row][-length:] for row in OUTPUTS]
    for place in range(length):
        new = [[value * (1000.0 if index == place else 1.0) for index, value in enumerate(row)] for row in old]
        assert judged(gate, old, new, [None] * N).outcome is Outcome.FAIL
        keyed = [[dict(enumerate(row)) for row in side] for side in (old, new)]
        assert judged(gate, keyed[0], keyed[1], [None] * N).outcome is Outcome.FAIL
    assert judged(gate, old, old, [None] * N).outcome is Outcome.PASS


@pytest.mark.parametrize("row", [[5, 7], [0.5, 0.6], [-0.2, 1.2], [0.2, 0.3, 0.5]], ids=str)
@pytest.mark.parametrize("metric", [Metric.BRIER, Metric.COST, Metric.AUC, Metric.ZERO_ONE, Metric.SELECTION_GAP])
def test_a_list_that_is_no_distribution_is_no_answer_of_a_class(metric: Metric, row: list[float]) -> None:
    """A metric of yes and no reads a list of two only where it is a distribution."""
    gate = make_gate("q", metric, margin=0.05, by=("g",) if metric is Metric.SELECTION_GAP else ())
    assert judged(gate, [0.7] * N, [row] * N, [int(value) for value in COIN]).outcome is Outcome.ERROR


@pytest.mark.parametrize("classes", [("1", "2"), ("1", "0"), ("0", "2")])
@pytest.mark.parametrize("kind", [list, np.array], ids=["logged", "recorded"])
def test_a_sure_probability_is_no_class(classes: tuple[str, str], kind: type) -> None:
    """A candidate that is sure and right passes, though its probability of 1.0 or 0.0 is the name of a class."""
    labels = [classes[int(value)] for value in COIN]
    champion = [0.99 if value else 0.01 for value in COIN]
    candidate = [float(value) if index % 3 == 0 else 0.97 * value for index, value in enumerate(COIN)]
    gate = make_gate("q", Metric.ZERO_ONE, margin=0.05, classes=classes)
    assert judged(gate, kind(champion), kind(candidate), labels).outcome is Outcome.PASS
    assert judged(gate, kind(champion), kind([1.0 - x for x in candidate]), labels).outcome is Outcome.FAIL


def test_numbers_that_may_be_either_are_an_error() -> None:
    """Where next to nothing tells whether 0 and 1 are names or probabilities, nothing is judged."""
    answers = [float(not value) for value in COIN]
    odd = [0.5, *answers[1:]]
    labels = [str(int(value)) for value in answers]
    gate = make_gate("q", Metric.ZERO_ONE, margin=0.05, classes=("1", "0"))
    assert judged(gate, answers, answers, labels).outcome is Outcome.PASS
    verdict = judged(gate, answers, odd, labels)
    assert verdict.outcome is Outcome.ERROR
    assert "probabilities of both" in verdict.reason


def test_labels_that_say_nothing_are_odd() -> None:
    """A label "NaN" that an old log holds is no class, however many there are."""
    labels = ["NaN" if index % 3 == 0 else "late" if value else "on time" for index, value in enumerate(COIN)]
    answers = ["late" if value else "on time" for value in COIN]
    verdict = judged(make_gate("q", Metric.ZERO_ONE, margin=0.05, coverage=0.9), answers, answers, labels)
    assert verdict.outcome is Outcome.ERROR


def test_each_output_is_a_column_of_a_shift() -> None:
    """Answers of two outputs are two columns, so that a shift of either is seen."""
    assert list(answers_to_frame([[5, 7], [5000, 7]], ["a", "b"]).columns) == ["prediction.0", "prediction.1"]
