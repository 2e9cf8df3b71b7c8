"""A record file answers what both versions are asked, as a replay of the same requests does."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.predictions.recorded.recorded_requests import RecordedRequests
from surefoot.adapters.replay.offline_replay import OfflineReplay
from surefoot.adapters.replay.recorded_answers import RecordedAnswers
from surefoot.core.domain import Outcome
from surefoot.core.judging.evidence import (
    BadEventCounts,
    BadEventStratum,
    DistributionShift,
    FeatureShift,
    MissingEvidence,
    ScoreBins,
)
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from tests.gates import changed
from tests.unit.test_replay import ASKED, V1, V2, label, record, write
from tests.unit.test_replay_requests import FED, FORESEEN, GIVEN, GOLDEN, Model, Row

N = 60
FAILS = {"champion": {3}, "candidate": {3, 5, 8}}
"""Requests that each version cannot answer."""


def score(arm: str, index: int) -> float:
    """What a version answers."""
    return (index * (7 if arm == "champion" else 11) % N) / N


def fed(arm: str, index: int) -> int:
    """What a version is fed: on every fourth request the candidate sees another value."""
    return index + (arm == "candidate" and index % 4 == 0)


def at(index: int) -> float:
    """When a request came: the last few are too young for their labels."""
    return 1000.0 * (index + 1) if index < 50 else ASKED.until - 60.0 + index


def labels() -> list[tuple[int, int, float]]:
    """What came true of most requests, and when: of some too late, and of some twice."""
    made = [(i, int(i % 3 == 0), at(i) + (150.0 if i % 10 == 1 else 50.0)) for i in range(N) if i % 7]
    return made + [(i, 1 - true, when + 10.0) for i, true, when in made if i % 13 == 0]


@contextmanager
def recorded(root: Path, frame: pd.DataFrame | None = None) -> Iterator[RecordedAnswers]:
    """Records of both versions, with their labels beside them."""
    if frame is None:
        rows = [
            {
                "request": f"q{i}",
                "at": at(i),
                "arm": arm,
                "version": number,
                "prediction": None if i in FAILS[arm] else score(arm, i),
                "error": "E: x" if i in FAILS[arm] else None,
                "i": fed(arm, i),
                "origin": "JFK",
            }
            for i in range(N)
            for arm, number in (("champion", "1"), ("candidate", "2"))
        ]
        frame = pd.DataFrame(rows)
    told = pd.DataFrame([{"request": f"q{i}", "label": true, "at": when} for i, true, when in labels()])
    frame.to_parquet(root / "records.parquet")
    told.to_parquet(root / "labels.parquet")
    records = RecordedRequests(root / "records.parquet", root / "labels.parquet")
    try:
        yield RecordedAnswers(records)
    finally:
        records.close()


def replayed(root: Path) -> OfflineReplay:
    """The same requests in a prediction log, and two models that answer as the records say."""
    write(root, "predictions", [record(i, at(i)) for i in range(N)])
    write(root, "labels", [label(i, true, when) for i, true, when in labels()])

    def model(arm: str) -> Model:
        def function(row: Row) -> object:
            index = int(str(row["i"]))
            return 1 // 0 if index in FAILS[arm] else score(arm, index)

        return Model(function, fed=lambda row: {**row, "i": fed(arm, int(str(row["i"])))})

    models = {V1.digest: model("champion"), V2.digest: model("candidate")}
    return OfflineReplay(PredictionLog(root), lambda _model, version: models[version.digest])


def test_failures_are_those_of_each_version(tmp_path: Path) -> None:
    """What each could not answer is counted as if both had been given half, without what both refuse."""
    with recorded(tmp_path) as asked:
        found = asked.failure_evidence(ASKED)
    assert found == BadEventCounts((BadEventStratum(0.5, 2, 57, 0, 59),), 0.0, "request", 59, 59)
    replay = replayed(tmp_path).failure_evidence(ASKED)
    assert isinstance(replay, BadEventCounts)
    assert (found.strata, found.baseline) == (replay.strata, replay.baseline)


def test_answers_lie_as_far_apart_as_in_a_replay(tmp_path: Path) -> None:
    """The distributions of both versions' answers differ by as much as those of the models that gave them."""
    with recorded(tmp_path) as asked:
        found = asked.answer_shift(GIVEN)
    assert isinstance(found, DistributionShift)
    (feature,) = found.features
    assert (feature.name, feature.reference, feature.current) == ("prediction", 59, 57)
    assert found == replayed(tmp_path).answer_shift(GIVEN)


def test_inputs_differ_on_as_many_requests_as_in_a_replay(tmp_path: Path) -> None:
    """Features that a version wrote down for itself are compared request by request."""
    with recorded(tmp_path) as asked:
        found = asked.input_differences(FED)
    assert found == DistributionShift(
        "the champion", (FeatureShift("i", 0.25, 60, 60), FeatureShift("origin", 0.0, 60, 60)), same=True
    )
    assert found == replayed(tmp_path).input_differences(FED)


def test_scores_to_come_are_those_of_a_replay(tmp_path: Path) -> None:
    """Past, later past and present are cut where a replay cuts them, and late labels count for neither."""
    with recorded(tmp_path) as asked:
        found = asked.past_scores(FORESEEN)
        everything = asked.past_scores(replace(FORESEEN, gate=changed(FORESEEN.gate, maturity=0.0)))
    assert isinstance(found, ScoreBins)
    assert [sum(cell[0] for cell in side) for side in (found.past, found.checked, found.now)] == [17, 18, 10]
    assert isinstance(everything, ScoreBins)
    assert sum(cell[0] for cell in everything.now) == 0
    assert found == replayed(tmp_path).past_scores(FORESEEN)


def test_records_hold_no_golden_rows(tmp_path: Path) -> None:
    """A file of records has no model to ask, and says so."""
    with recorded(tmp_path) as asked:
        found = asked.golden_rows(GOLDEN)
    assert found == MissingEvidence(Outcome.NO_DATA, "records hold no model that golden rows could be asked of")


@pytest.mark.parametrize("name", ["failure_evidence", "answer_shift", "past_scores", "input_differences"])
def test_window_without_a_pair_is_no_data(tmp_path: Path, name: str) -> None:
    """A window that nothing was recorded in leaves each of the gates without data, and none of them passes."""
    question = {"failure_evidence": ASKED, "answer_shift": GIVEN, "past_scores": FORESEEN, "input_differences": FED}[
        name
    ]
    with recorded(tmp_path) as asked:
        found = getattr(asked, name)(replace(question, since=0.0, until=999.0))
    assert judge(question.gate, found, DecisionThresholds()).outcome is Outcome.NO_DATA


def test_features_that_only_the_champion_wrote_down_are_not_compared(tmp_path: Path) -> None:
    """Where the candidate's records hold no features at all nobody says that it saw others."""
    rows = [
        {"request": f"q{i}", "at": at(i), "arm": arm, "version": number, "prediction": 0.5, "x": x}
        for i in range(9)
        for arm, number, x in (("champion", "1", 1.0), ("candidate", "2", None))
    ]
    with recorded(tmp_path, pd.DataFrame(rows)) as asked:
        found = asked.input_differences(FED)
    assert isinstance(found, DistributionShift)
    assert judge(FED.gate, found, DecisionThresholds()).outcome is Outcome.NO_DATA
