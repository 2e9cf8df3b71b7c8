"""Answers and labels that are classes: by name before position, texts as texts."""

import numpy as np
import pytest

from surefoot.adapters.evidence.paired.paired_loss_evidence import build_paired_loss_evidence
from surefoot.adapters.evidence.paired.scored_batch import ScoredBatch
from surefoot.core.answers.disagreement import find_disagreeing_requests
from surefoot.core.answers.losses import compute_losses
from surefoot.core.errors import InvariantBroken
from surefoot.core.judging.evidence import MILLIONTHS_PER_UNIT
from surefoot.core.planning import list_policy_notes
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import Costs, Metric, Policy
from surefoot.core.policy.violations import Violation
from tests.fakes import POLICY
from tests.gates import make_gate
from tests.unit.test_can_fail import refuse_vacuous

NUMBERED = make_gate("g", Metric.ZERO_ONE, classes=("1", "2", "3"))
NAMED = make_gate("g", Metric.ZERO_ONE, classes=("home", "draw", "away"))
LATE = make_gate("g", Metric.ZERO_ONE, classes=("on time", "late"))


@pytest.mark.parametrize("label", [2, 2.0, "2", "2.0"])
def test_names_win_over_positions(label: object) -> None:
    """With classes 1, 2 and 3 the label 2 is the class "2", whatever its type, and not the third one."""
    second = [[0.1, 0.8, 0.1]]
    assert list(compute_losses(NUMBERED, second, [label])) == [0.0]
    assert list(compute_losses(NUMBERED, [[0.1, 0.1, 0.8]], np.array([2.0]))) == [1.0]
    with pytest.raises(InvariantBroken, match="none of the classes"):
        compute_losses(NUMBERED, second, [0])


def test_positions_count_where_no_class_is_a_number() -> None:
    """With classes that are words the label 2 is the third one, and true is none of them."""
    assert list(compute_losses(NAMED, [[0.1, 0.1, 0.8]] * 2, [2, "away"])) == [0.0, 0.0]
    with pytest.raises(InvariantBroken, match="none of the classes"):
        compute_losses(NAMED, [[0.1, 0.1, 0.8]], [True])


def test_texts_are_compared_as_classes() -> None:
    """Text answers and text labels are right where they name the same class, with `classes` and without."""
    answers, labels = ["late", "on time", "late"], ["late", "late", "late"]
    for asked in (LATE, make_gate("g", Metric.ZERO_ONE)):
        assert list(compute_losses(asked, answers, labels)) == [0.0, 1.0, 0.0]
    assert list(compute_losses(make_gate("g", Metric.ZERO_ONE), [1, 0.0, True], ["1", "0", "true"])) == [0.0, 0.0, 0.0]


def test_probabilities_meet_texts_only_by_classes() -> None:
    """A probability is of the second class where `classes` says so; without it nothing says what it is of."""
    assert list(compute_losses(LATE, [0.7, 0.2, [0.9, 0.1]], ["late", "on time", "late"])) == [0.0, 0.0, 1.0]
    brier = make_gate("g", Metric.BRIER, classes=("on time", "late"))
    assert compute_losses(brier, [0.7], ["late"]) == pytest.approx([0.18])
    with pytest.raises(InvariantBroken, match="without 'classes'"):
        compute_losses(make_gate("g", Metric.ZERO_ONE), [0.7], ["late"])


def test_disagreement_of_texts_and_distributions() -> None:
    """Two versions disagree where their classes differ: texts by name, distributions by the most probable class."""
    assert list(find_disagreeing_requests(["H", "D"], ["H", "A"], 0.5)) == [False, True]
    assert list(find_disagreeing_requests([[0.2, 0.3, 0.5]], [[0.1, 0.2, 0.7]], 0.5)) == [False]
    assert list(find_disagreeing_requests([{"H": 0.2, "D": 0.3, "A": 0.5}], [{"H": 0.6, "D": 0.2, "A": 0.2}], 0.5)) == [
        True
    ]


@pytest.mark.parametrize("metric", [Metric.COST, Metric.TPR_GAP, Metric.AUC])
def test_two_classes_are_known_to_metrics_of_yes_and_no(metric: Metric) -> None:
    """Costs, gaps and calibration take labels and answers by name; the second class is the positive one."""
    costs = {"costs": Costs(tp=1.0, fp=2.0, fn=3.0, tn=4.0)}
    asked = make_gate("g", metric, classes=("on time", "late"), where_known=costs, by=("o",), block=10.0)
    plain = make_gate("g", metric, where_known=costs, by=("o",), block=10.0)
    rows = {"at": np.array([1.0, 2.0]), "late": np.array([False, False]), "columns": {"o": ["a", "b"]}}
    named = ScoredBatch(champion=["late", "on time"], candidate=["late", "late"], labels=["late", "on time"], **rows)  # type: ignore[arg-type]
    numbered = ScoredBatch(champion=[1.0, 0.0], candidate=[1.0, 1.0], labels=[1, 0], **rows)  # type: ignore[arg-type]
    assert (
        build_paired_loss_evidence(asked, 0.0, 20.0, [named]).evidence().slices
        == build_paired_loss_evidence(plain, 0.0, 20.0, [numbered]).evidence().slices
    )


def test_a_candidate_that_is_always_wrong_is_seen_with_integer_labels() -> None:
    """A back-test with whole-number labels, which it reads as floats, counts every wrong answer."""
    wrong = ScoredBatch(
        at=np.array([1.0, 2.0]),
        champion=[[0.0, 1.0, 0.0]] * 2,
        candidate=[[0.0, 0.0, 1.0]] * 2,
        labels=np.array([2.0, 2.0]),
        late=np.array([False, False]),
    )
    (block,) = (
        build_paired_loss_evidence(
            make_gate("g", Metric.ZERO_ONE, classes=("1", "2", "3"), block=10.0), 0.0, 20.0, [wrong]
        )
        .evidence()
        .slices[""]
    )
    assert (block.champion, block.candidate) == ((0,), (2 * MILLIONTHS_PER_UNIT,))


def _with(gate: dict[str, object]) -> Policy:
    """A policy with one more gate."""
    bake = {"for": "1h", "gates": ["errors", "g"]}
    return parse_policy({**POLICY, "gates": {**POLICY["gates"], "g": gate}, "bake": bake})


@pytest.mark.parametrize("classes", [["1", "1.0"], ["a"], ["a", "b", "c"]])
def test_classes_that_cannot_be_told_apart_are_refused(classes: list[str]) -> None:
    """A class that is named twice, a single class, and a third one where only two are known are refused."""
    with pytest.raises(Violation):
        refuse_vacuous(_with({"metric": "auc", "labels": {"maturity": "1h"}, "classes": classes}))


def test_lint_says_where_classes_are_needed() -> None:
    """A note names each gate that takes labels for 0 and 1 because its policy names no classes."""
    quality = {"metric": "brier", "labels": {"maturity": "1h"}}
    named = {**quality, "classes": ["on time", "late"]}
    value = {**POLICY, "gates": {**POLICY["gates"], "quality": quality, "named": named}}
    value |= {"bake": {"for": "1h", "gates": ["errors", "quality", "named"]}, "artifacts": {"pickle": "allow"}}
    (note,) = list_policy_notes(parse_policy(value))
    assert "gate 'quality'" in note
    assert "'classes'" in note
