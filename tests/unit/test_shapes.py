"""Both versions' answers have one shape before the candidate gets any traffic, or the policy allows another one."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.predictions.recorded.recorded_requests import RecordedRequests
from surefoot.adapters.replay.offline_replay import OfflineReplay
from surefoot.adapters.replay.recorded_answers import RecordedAnswers
from surefoot.core.actions import JudgeGates
from surefoot.core.answers.answer_shapes import describe_answer_shapes
from surefoot.core.domain import EvidenceKind, Outcome, Stage
from surefoot.core.journal.ledger import fold_entries
from surefoot.core.judging.evidence import AnswerShapes, MissingEvidence
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.gates.implicit import ANSWER_SHAPE_GATE
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.violations import Violation
from surefoot.core.state_machine import decide_action
from surefoot.rollout import drive_rollout, open_promotion
from tests.fakes import POLICY, Scenario
from tests.unit.test_replay import ASKED, V1, V2, record, write
from tests.unit.test_replay_requests import Model

QUESTION = replace(ASKED, gate=ANSWER_SHAPE_GATE, kind=EvidenceKind.DATA)


def asked(root: Path, old: object, new: object) -> AnswerShapes:
    """What is found where the champion answered live with one value, and the candidate answers with another."""
    write(root, "predictions", [record(i, 100.0 + i, prediction=old, answered_by="1") for i in range(20)])

    def answer(_row: object) -> object:
        if new is None:
            raise ZeroDivisionError("division by zero")
        return new

    models = {V1.digest: Model(lambda _row: old), V2.digest: Model(answer)}
    found = OfflineReplay(PredictionLog(root), lambda _model, version: models[version.digest]).answer_shapes(QUESTION)
    assert isinstance(found, AnswerShapes)
    return found


@pytest.mark.parametrize(
    ("old", "new", "outcome"),
    [
        (0.3, 0.9, Outcome.PASS),
        (1, 0.5, Outcome.PASS),
        ([0.3, 0.7], [0.1, 0.9], Outcome.PASS),
        ("late", "on time", Outcome.PASS),
        ({"a": 1, "b": "x"}, {"b": "y", "a": 2.5}, Outcome.PASS),
        ([0.3, 0.7], 1, Outcome.FAIL),
        ([0.3, 0.7], [0.2, 0.3, 0.5], Outcome.FAIL),
        (0.3, {"p": 0.3}, Outcome.FAIL),
        ({"p": 0.3}, {"q": 0.3}, Outcome.FAIL),
        ({"p": 0.3}, {"p": 0.3, "q": 0.1}, Outcome.FAIL),
        ({"p": {"x": 1}}, {"p": {"x": "1"}}, Outcome.FAIL),
        (1, "1", Outcome.FAIL),
        (1, True, Outcome.FAIL),
        (0.3, None, Outcome.FAIL),
    ],
)
def test_a_change_of_shape_fails(tmp_path: Path, old: object, new: object, outcome: Outcome) -> None:
    """Another kind, length or key is a FAIL that says both shapes; other values of the same shape are a PASS."""
    verdict = judge(ANSWER_SHAPE_GATE, asked(tmp_path, old, new), DecisionThresholds())
    assert verdict.outcome is outcome
    if outcome is Outcome.FAIL and new is not None:
        (before,), (after,) = describe_answer_shapes([old]), describe_answer_shapes([new])
        assert before in verdict.reason
        assert after in verdict.reason
        assert "answers: any" in verdict.reason


def test_lists_of_any_length_have_one_shape() -> None:
    """Where the champion's own lists vary in length, the candidate's may too."""
    old = [["a"], ["a", "b"]]
    assert describe_answer_shapes(old) == describe_answer_shapes([["x", "y", "z"]], old) == ("a list of texts",)
    assert describe_answer_shapes([[1.0, 2.0]]) == ("a list of 2 numbers",)
    assert describe_answer_shapes([[]], old) == ("a list of nothing",)
    assert describe_answer_shapes([None, 1.0]) == ("a number",)


def test_without_requests_nothing_is_known(tmp_path: Path) -> None:
    """An empty window has no answers to compare, and nothing passes for it."""
    found = OfflineReplay(PredictionLog(tmp_path), lambda _m, _v: Model()).answer_shapes(QUESTION)
    assert isinstance(found, MissingEvidence)
    assert (
        judge(ANSWER_SHAPE_GATE, AnswerShapes((), ("a number",), 0, 0), DecisionThresholds()).outcome is Outcome.NO_DATA
    )


def test_signatures_are_told_where_they_differ() -> None:
    """Signatures that declare other outputs are in the sentence, whatever the answers show."""
    verdict = judge(
        ANSWER_SHAPE_GATE, AnswerShapes(("a number",), ("a number",), 9, 9, ("double", "long")), DecisionThresholds()
    )
    assert verdict.outcome is Outcome.PASS
    assert "the signatures say double and long" in verdict.reason


def test_a_back_test_compares_the_recorded_answers(tmp_path: Path) -> None:
    """A file in which the candidate answers with another shape fails at the same gate, paired or not."""
    rows = [
        {"request": f"{arm}{i}", "at": float(i), "arm": arm, "version": v, "prediction": given, "weight": 5.0}
        for i in range(4)
        for arm, v, given in (("champion", "1", [0.3, 0.7]), ("candidate", "2", [0.2, 0.3, 0.5]))
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "r.parquet", index=False)
    records = RecordedRequests(tmp_path / "r.parquet")
    try:
        assert (
            judge(ANSWER_SHAPE_GATE, RecordedAnswers(records).answer_shapes(QUESTION), DecisionThresholds()).outcome
            is Outcome.FAIL
        )
    finally:
        records.close()


@pytest.mark.parametrize(("data", "gates"), [({}, {"data", "answer_shape"}), ({"answers": "any"}, {"data"})])
def test_it_is_asked_before_any_traffic_unless_the_policy_allows_any(data: dict[str, str], gates: set[str]) -> None:
    """The first stage asks for the shape of answers beside the suite, except where the policy says `answers: any`."""
    scenario = Scenario(policy={**POLICY, "data": {**POLICY["data"], **data}})
    open_promotion(scenario.ports(), scenario.request())
    drive_rollout(
        scenario.ports(), "m", until=lambda ledger: bool(ledger.rollout and ledger.rollout.stage is Stage.VALIDATING)
    )
    ledger = fold_entries("m", scenario.journal.entries)
    action = decide_action(ledger, parse_policy(scenario.policy), scenario.clock.now())
    assert isinstance(action, JudgeGates)
    assert {gate.name for gate in action.gates} == gates


def test_its_name_is_taken() -> None:
    """A policy cannot give the name to a gate of its own."""
    value = {**POLICY, "gates": {**POLICY["gates"], "answer_shape": POLICY["gates"]["errors"]}}
    with pytest.raises(Violation, match="choose another"):
        parse_policy(value)
