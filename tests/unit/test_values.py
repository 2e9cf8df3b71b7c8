"""A value has two bounds: what lies beyond them is counted, and losses are losses."""

from dataclasses import replace
from pathlib import Path

import pytest

from surefoot.adapters.evidence.prediction_log_evidence import PredictionLogEvidence
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.replay.offline_replay import OfflineReplay
from surefoot.core.domain import Outcome
from surefoot.core.judging.data_validation import ValidationResult
from surefoot.core.judging.evidence import Evidence, MissingEvidence, ValueCounts
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.parse import parse_gate
from surefoot.core.policy.policy_types import Gate, Metric
from surefoot.core.policy.violations import Violation
from surefoot.core.stats.bounded_mean import VALUE_LEVELS
from tests.gates import make_gate
from tests.unit.test_counts import LIVE, before, record
from tests.unit.test_replay import label, write

MONEY = make_gate("money", Metric.VALUE, margin=2.0, cap=100.0, floor=-100.0, column="label", maturity=600.0)
N = 400


def measured(root: Path, asked: Gate, champion: object, candidate: object, odd: int = 0) -> Evidence:
    """Counts of a rollout at equal weights, whose champion and candidate bring these values."""
    asked_ = [record(f"q{i}", weight=50.0, arm=("champion", "candidate")[i % 2]) for i in range(2 * N)]
    past = [before(f"q{2 * N + i}") for i in range(50)]
    write(root, "predictions", [*asked_, *past])
    told = [label(i, (champion, candidate)[i % 2] if i >= odd else "much", 1200.0) for i in range(2 * N)]
    write(root, "labels", [*told, *(label(2 * N + i, champion, 950.0) for i in range(50))])
    log = PredictionLog(root)
    question = replace(LIVE, gate=asked, opened=1700.0, until=1800.0)
    never = OfflineReplay(log, lambda _model, _version: None)  # type: ignore[arg-type, return-value]
    return PredictionLogEvidence(log, never, lambda suite, _frame, _name: ValidationResult(suite, 1, 1, ())).gather(
        question
    )


def test_a_candidate_that_loses_money_fails(tmp_path: Path) -> None:
    """Ten earned by the champion and fifteen lost by the candidate are a FAIL, with both means in their own unit."""
    verdict = judge(MONEY, measured(tmp_path, MONEY, 10.0, -15.0), DecisionThresholds(0.01, 0.05))
    assert verdict.outcome is Outcome.FAIL
    means = {figure.name: figure.value for figure in verdict.figures}
    assert means["champion mean"] == pytest.approx(10.0, abs=1.0)
    assert means["candidate mean"] == pytest.approx(-15.0, abs=1.0)
    assert verdict.estimate == pytest.approx(25.0, abs=2.0)


def test_an_equal_candidate_does_not_fail(tmp_path: Path) -> None:
    """Two versions that lose the same are equal."""
    verdict = judge(MONEY, measured(tmp_path, MONEY, -15.0, -15.0), DecisionThresholds(0.01, 0.05))
    assert verdict.outcome is not Outcome.FAIL


def test_losses_without_a_floor_are_an_error(tmp_path: Path) -> None:
    """Where the policy names no floor, values below 0 are an ERROR, whose sentence says which key is wanted."""
    found = measured(
        tmp_path, make_gate("money", Metric.VALUE, margin=2.0, cap=100.0, column="label", maturity=600.0), 10.0, -15.0
    )
    assert isinstance(found, MissingEvidence)
    assert found.outcome is Outcome.ERROR
    assert f"{N} values are below 0" in found.reason
    assert "'floor'" in found.reason


def test_what_is_clipped_is_told(tmp_path: Path) -> None:
    """Values beyond either bound count as the bound, and the verdict says how many there were."""
    found = measured(tmp_path, MONEY, 500.0, -500.0)
    assert isinstance(found, ValueCounts)
    assert (found.strata[0].champion[VALUE_LEVELS - 1], found.strata[0].candidate[0], found.left.clipped) == (
        N,
        N,
        2 * N,
    )
    verdict = judge(MONEY, found, DecisionThresholds())
    assert "800 values beyond the policy's bounds" in verdict.reason


def test_a_few_labels_without_a_number_are_told_and_many_are_an_error(tmp_path: Path) -> None:
    """A label that is a text counts for nothing, its request is named, and a hundred of them decide."""
    few = measured(tmp_path, MONEY, 10.0, 10.0, odd=4)
    assert isinstance(few, ValueCounts)
    assert (few.left.odd, few.left.requests) == (4, ("q0", "q1", "q2", "q3"))
    assert sum(few.strata[0].candidate) == N - 2
    verdict = judge(MONEY, few, DecisionThresholds(0.01, 0.05))
    assert verdict.outcome is not Outcome.ERROR
    assert "q0, q1, q2, q3" in verdict.reason
    assert "much" not in verdict.reason
    many = judge(MONEY, measured(tmp_path, MONEY, 10.0, 10.0, odd=100), DecisionThresholds(0.01, 0.05))
    assert many.outcome is Outcome.ERROR


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"cap": 10, "floor": 10}, "above the floor"),
        ({"cap": 10, "floor": -10, "margin": "5%"}, "floor"),
        ({"cap": -5}, "above the floor"),
        ({"cap": 10, "floor": -10, "expect": {"mean": -11}}, "between"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(keys: dict[str, object], words: str) -> None:
    """The cap is above the floor, a margin beside a floor is a number, and an expected mean lies between them."""
    with pytest.raises(Violation, match=words):
        parse_gate("g", {"metric": "value", "margin": 0.5, "labels": {"maturity": "1h"}, **keys})
