"""Two versions score the same logged requests: which requests, which labels, and who could not answer."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from surefoot.adapters.evidence.prediction_log_evidence import PredictionLogEvidence
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.replay.batch_scoring import CHUNK_ROWS
from surefoot.adapters.replay.offline_replay import OfflineReplay
from surefoot.core.domain import EvidenceKind, Outcome, Version
from surefoot.core.errors import ArtifactTampered
from surefoot.core.judging.data_validation import ValidationResult
from surefoot.core.judging.evidence import (
    BadEventCounts,
    BadEventStratum,
    DistributionShift,
    FeatureShift,
    MissingEvidence,
    PairedBlock,
    PairedSums,
)
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.excluded_records import ExcludedRecords
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import Metric
from tests.gates import changed, make_gate

DAY = 86400.0
QUALITY = make_gate("quality", Metric.BRIER, maturity=100.0, coverage=0.9, block=DAY)
V1, V2 = Version("1", "sha256:1"), Version("2", "sha256:2")
ASKED = EvidenceRequest(
    "m", QUALITY, EvidenceKind.SHADOW, "sha256:s", "r", V1, V2, since=0.0, until=10 * DAY, opened=10 * DAY
)


class Model:
    """Answers with a function of the row, and remembers how it was asked."""

    def __init__(self, function: Callable[[Mapping[str, object]], object]) -> None:
        self.function = function
        self.sizes: list[int] = []

    def signature_fields(self) -> dict[str, object]:
        """It has no signature."""
        return {}

    def golden_rows(self) -> tuple[list[dict[str, object]], list[object]]:
        """It carries no rows."""
        return [], []

    def preprocessed(self, rows: list[dict[str, object]]) -> pd.DataFrame:
        """Rows as they came."""
        return pd.DataFrame(rows)

    def predict(self, rows: list[Any], _params: object = None) -> list[object]:
        """Answer every row, or raise."""
        self.sizes.append(len(rows))
        return [self.function(row) for row in rows]


def half(_row: Mapping[str, object]) -> object:
    """A model that knows nothing."""
    return 0.5


def raising(bad: Callable[[Mapping[str, object]], bool], answer: float = 0.5) -> Model:
    """A model that cannot answer some rows, and then answers nothing of the whole batch."""

    def function(row: Mapping[str, object]) -> object:
        if bad(row):
            raise ZeroDivisionError("division by zero")
        return answer

    return Model(function)


def record(index: int, at: float, **fields: object) -> dict[str, object]:
    """One served request; the champion of those days was version 0."""
    made = {"v": 1, "request": f"q{index}", "row": 0, "model": "m", "at": at, "unit": None, "arm": "champion"}
    made |= {"version": "0", "answered_by": "0", "weight": 0.0, "generation": 1, "rollout": "", "latency_ms": 1.0}
    return {**made, "error": None, "prediction": 0.1, "features": {"i": index, "origin": "JFK"}, **fields}


def label(index: int, value: object, at: float, **fields: object) -> dict[str, object]:
    """One reported label."""
    return {"v": 1, "request": f"q{index}", "row": 0, "label": value, "at": at, **fields}


def write(root: Path, kind: str, records: list[dict[str, object]], tail: bytes = b"") -> None:
    """A segment of predictions or labels."""
    folder = root / "m"
    folder.mkdir(exist_ok=True)
    (folder / f"{kind}-1-1.jsonl").write_bytes(b"".join(json.dumps(item).encode() + b"\n" for item in records) + tail)


def house(root: Path, champion: Model | None = None, candidate: Model | None = None) -> OfflineReplay:
    """A replay over a log, with two loaded models."""
    models = {V1.digest: champion or Model(half), V2.digest: candidate or Model(half)}
    return OfflineReplay(PredictionLog(root), lambda _model, version: models[version.digest])


def days(root: Path, n: int, **fields: object) -> None:
    """Requests an hour apart, each with label 1."""
    write(root, "predictions", [record(i, 3600.0 * (i + 1), **fields) for i in range(n)])
    write(root, "labels", [label(i, 1, 3600.0 * (i + 1) + 50.0) for i in range(n)])


def paired(replay: OfflineReplay, question: EvidenceRequest = ASKED) -> PairedSums:
    """Losses that must be there."""
    found = replay.paired_loss_evidence(question)
    assert isinstance(found, PairedSums)
    return found


def test_each_request_is_asked_with_its_own_params(tmp_path: Path) -> None:
    """Rows are scored together only where their callers gave the same params, and by those."""
    asked: list[tuple[list[object], object]] = []

    class Tuned(Model):
        def predict(self, rows: list[dict[str, object]], params: object = None) -> list[object]:
            """Remember."""
            asked.append(([row["i"] for row in rows], params))
            return [0.5 for _ in rows]

    given = [None, {"a": 1}, None, {"a": 1.0}, {"a": 1}]
    write(tmp_path, "predictions", [record(i, 60.0 * (i + 1), params=params) for i, params in enumerate(given)])
    house(tmp_path, candidate=Tuned(half)).score_window(ASKED, V2)
    assert asked == [([0, 2], None), ([1, 4], {"a": 1}), ([3], {"a": 1.0})]
    assert [type(params["a"]) for _, params in asked[1:] if isinstance(params, dict)] == [int, float]


def test_losses_by_block(tmp_path: Path) -> None:
    """Each day is a block with the sums of both versions' losses on its requests."""
    days(tmp_path, 50)
    found = paired(house(tmp_path, Model(lambda _row: 0.5), Model(lambda _row: [0.8, 0.2])))
    blocks = found.slices[""]
    assert [(b.key, b.n) for b in blocks] == [
        ("1970-01-01T00:00Z", 23),
        ("1970-01-02T00:00Z", 24),
        ("1970-01-03T00:00Z", 3),
    ]
    assert [b.champion for b in blocks] == [(250_000 * b.n,) for b in blocks]
    assert [b.candidate for b in blocks] == [(640_000 * b.n,) for b in blocks]
    assert (found.requests, found.labelled, found.unscored, found.compared, found.same) == (50, 50, 0, 50, 0)


def test_last_label_wins(tmp_path: Path) -> None:
    """A label that came again counts as it came last, whatever the order in the file."""
    write(tmp_path, "predictions", [record(0, 1000.0)])
    write(tmp_path, "labels", [label(0, 0, 1300.0), label(0, 1, 1400.0), label(0, 0, 1200.0)])
    (row,) = PredictionLog(tmp_path).read_requests("m", 0.0, 5000.0)
    assert row.label(0.0) == 1
    (row,) = PredictionLog(tmp_path).read_requests("m", 0.0, 1350.0)
    assert row.label(0.0) == 0


def test_late_and_unknown_labels(tmp_path: Path) -> None:
    """Labels after the window are not seen, those of unknown requests match nothing, missing ones lower coverage."""
    write(tmp_path, "predictions", [record(i, 1000.0) for i in range(10)])
    write(
        tmp_path,
        "labels",
        [
            *(label(i, 1, 1100.0) for i in range(6)),
            label(6, 1, ASKED.until + 1.0),
            label(99, 1, 1100.0),
            label(7, 1, 1100.0, row=3),
        ],
        tail=b'{"v":1,"request":"q8","row":0,"lab',
    )
    found = paired(house(tmp_path))
    assert (found.requests, found.labelled) == (10, 6)
    assert sum(block.n for block in found.slices[""]) == 6


def test_young_requests_wait_for_their_labels(tmp_path: Path) -> None:
    """A block counts when the labels of all its requests have had their time, whether they came or not."""
    write(tmp_path, "predictions", [record(0, 9 * DAY), record(1, 9 * DAY - 1.0)])
    write(tmp_path, "labels", [label(i, 1, 9 * DAY + 50.0) for i in range(2)])
    found = paired(house(tmp_path))
    assert (found.requests, found.labelled) == (1, 1)


def test_label_after_its_maturity_does_not_count(tmp_path: Path) -> None:
    """A label counts when it came in time, however long the wait; one that came late is counted as such."""
    write(tmp_path, "predictions", [record(i, 1000.0) for i in range(4)])
    times = [1100.0, 1100.5, 1050.0, 1090.0]
    write(tmp_path, "labels", [*(label(i, 1, at) for i, at in enumerate(times)), label(3, 0, 1099.0)])
    found = paired(house(tmp_path, candidate=Model(lambda _row: 1.0)))
    assert (found.labelled, found.late, found.corrected, found.unknown) == (3, 1, 1, 0)
    assert found.slices[""][0].candidate == (1_000_000,)


def test_torn_last_line_is_left_out(tmp_path: Path) -> None:
    """A crash in mid-write costs its own line and nothing else."""
    write(tmp_path, "predictions", [record(i, 1000.0 + i) for i in range(3)], tail=b'{"v":1,"request":"q9","ro')
    assert [row.key for row in PredictionLog(tmp_path).read_requests("m", 0.0, 5000.0)] == [
        (f"q{i}", 0) for i in range(3)
    ]


def test_repeated_request_is_scored_once(tmp_path: Path) -> None:
    """Of two records with one id the first counts."""
    write(tmp_path, "predictions", [record(0, 1200.0, prediction=0.9), record(0, 1100.0)])
    (row,) = PredictionLog(tmp_path).read_requests("m", 0.0, 5000.0)
    assert (row.at, row.prediction) == (1100.0, 0.1)


def test_every_kind_of_json_survives_the_log(tmp_path: Path) -> None:
    """Answers, labels and features come back as they were written; a row that was not kept is left out."""
    answers: list[object] = [0.5, 3, "late", [0.1, 0.9], {"p": 0.4}, True, None]
    write(tmp_path, "predictions", [record(i, 1000.0 + i, prediction=value) for i, value in enumerate(answers)])
    write(tmp_path, "labels", [label(i, value, 1100.0) for i, value in enumerate(answers) if value is not None])
    rows = PredictionLog(tmp_path).read_requests("m", 0.0, 5000.0)
    assert [row.prediction for row in rows] == answers
    assert [row.label(0.0) for row in rows] == answers
    write(
        tmp_path, "predictions", [record(0, 1000.0, features=None), record(1, 1001.0, features={"a": {"b": [1, None]}})]
    )
    assert [row.features for row in PredictionLog(tmp_path).read_requests("m", 0.0, 5000.0)] == [
        {"a": {"b": [1, None]}}
    ]


def test_too_many_requests_are_sampled_over_the_whole_window(tmp_path: Path) -> None:
    """A limit takes the same requests each time, in order, from early and late alike."""
    write(tmp_path, "predictions", [record(i, 1000.0 + i) for i in range(400)])
    log = PredictionLog(tmp_path)
    rows, more = (log.read_requests("m", 0.0, 5000.0, limit=limit) for limit in (100, 200))
    assert len(rows) == 100
    assert rows == [row for row in more if row in rows] == sorted(rows, key=lambda row: row.at)
    assert 25 <= sum(row.at < 1200.0 for row in rows) <= 75


@pytest.mark.parametrize("bad", [[0], [7], [0, 1, 2], [5, 90, 170], list(range(0, 200, 40))])
def test_rows_that_break_a_model_stand_alone(tmp_path: Path, bad: list[int]) -> None:
    """Halving finds exactly the rows that the candidate cannot answer; all others are answered."""
    days(tmp_path, 200)
    candidate = raising(lambda row: row["i"] in bad)
    found = paired(house(tmp_path, candidate=candidate))
    assert (found.requests, found.unscored) == (200, len(bad))
    assert sum(block.n for block in found.slices[""]) == 200 - len(bad)
    assert len(candidate.sizes) <= 2 * len(bad) * 9 + 1


def test_young_rows_are_no_excuse(tmp_path: Path) -> None:
    """Unanswered requests are counted among the mature ones alone, exactly."""
    write(tmp_path, "predictions", [record(i, 1000.0 + i if i < 50 else ASKED.until - 1.0) for i in range(200)])
    write(tmp_path, "labels", [label(i, 1, 2000.0) for i in range(200)])
    young = paired(house(tmp_path, candidate=raising(lambda row: int(str(row["i"])) >= 195)))
    assert (young.requests, young.unscored) == (50, 0)
    mature = paired(house(tmp_path, candidate=raising(lambda row: int(str(row["i"])) < 3)))
    assert (mature.requests, mature.unscored) == (50, 3)


def test_what_nobody_can_answer_blames_nobody(tmp_path: Path) -> None:
    """Requests that the champion cannot answer either are the caller's, not the candidate's."""
    days(tmp_path, 100)
    broken = raising(lambda row: int(str(row["i"])) % 20 == 0)
    found = paired(house(tmp_path, broken, raising(lambda row: int(str(row["i"])) % 20 == 0)))
    assert (found.requests, found.unscored) == (95, 0)


def test_candidate_that_answers_nothing(tmp_path: Path) -> None:
    """A candidate that raises for everything leaves everything unanswered, and is not asked for ever."""
    days(tmp_path, 200)
    candidate = raising(lambda _row: True)
    found = paired(house(tmp_path, candidate=candidate))
    assert (found.requests, found.unscored, found.labelled) == (200, 200, 200)
    assert found.compared == 0
    assert len(candidate.sizes) < 200


def test_large_windows_are_scored_in_chunks(tmp_path: Path) -> None:
    """No model is given more rows at once than a chunk."""
    write(tmp_path, "predictions", [record(i, 1000.0 + i) for i in range(CHUNK_ROWS + 5)])
    candidate = Model(half)
    paired(house(tmp_path, candidate=candidate))
    assert candidate.sizes == [CHUNK_ROWS, 5]


def test_live_answers_are_not_asked_again(tmp_path: Path) -> None:
    """What a version answered live is its answer; only the rest is replayed."""
    write(
        tmp_path, "predictions", [record(i, 1000.0, answered_by="1" if i < 4 else "0", version="1") for i in range(6)]
    )
    write(tmp_path, "labels", [label(i, 0, 1050.0) for i in range(6)])
    champion = Model(half)
    found = paired(house(tmp_path, champion))
    assert champion.sizes == [2]
    assert found.slices[""][0].champion == (4 * 10_000 + 2 * 250_000,)


def test_one_window_is_scored_once(tmp_path: Path) -> None:
    """Two gates with the same window share the answers."""
    days(tmp_path, 20)
    champion, candidate = Model(half), Model(half)
    replay = house(tmp_path, champion, candidate)
    paired(replay)
    paired(replay, replace(ASKED, gate=changed(QUALITY, by=("origin",))))
    replay.failure_evidence(ASKED)
    assert (champion.sizes, candidate.sizes) == ([20], [20])


def test_slices(tmp_path: Path) -> None:
    """Each value of a column is a slice with its own blocks, beside the whole."""
    origins = ["JFK", "LGA", "EWR"]
    write(tmp_path, "predictions", [record(i, 1000.0, features={"i": i, "origin": origins[i % 3]}) for i in range(9)])
    write(tmp_path, "labels", [label(i, 1, 1050.0) for i in range(9)])
    found = paired(house(tmp_path), replace(ASKED, gate=changed(QUALITY, by=("origin", "carrier"))))
    assert {name: sum(b.n for b in blocks) for name, blocks in found.slices.items()} == {
        "": 9,
        "origin=JFK": 3,
        "origin=LGA": 3,
        "origin=EWR": 3,
        "carrier=(missing)": 9,
    }


def test_no_request_is_no_data(tmp_path: Path) -> None:
    """An empty window is NO_DATA for losses and for failures."""
    for found in (house(tmp_path).paired_loss_evidence(ASKED), house(tmp_path).failure_evidence(ASKED)):
        assert isinstance(found, MissingEvidence)
        assert found.outcome is Outcome.NO_DATA


def test_failures_of_a_replay(tmp_path: Path) -> None:
    """Each version's unanswered requests are counted, with the champion's share as the baseline."""
    days(tmp_path, 100)
    replay = house(tmp_path, raising(lambda row: row["i"] == 50), raising(lambda row: int(str(row["i"])) < 4))
    assert replay.failure_evidence(ASKED) == BadEventCounts((BadEventStratum(0.5, 4, 96, 1, 99),), 0.01, "request", 100)


def measured(root: Path, load: Callable[[str, Version], Model]) -> PredictionLogEvidence:
    """The evidence port over a log."""
    log = PredictionLog(root)
    return PredictionLogEvidence(
        log, OfflineReplay(log, load), lambda suite, frame, _name: ValidationResult(suite, len(frame), 1, ())
    )


def test_labels_that_are_no_numbers_are_an_error(tmp_path: Path) -> None:
    """Where no label can be scored the gate is an ERROR that says what is wanted; the value is not in it."""
    write(tmp_path, "predictions", [record(0, 1000.0)])
    write(tmp_path, "labels", [label(0, "belated", 1050.0)])
    verdict = judge(
        QUALITY, measured(tmp_path, lambda _model, _version: Model(half)).gather(ASKED), DecisionThresholds()
    )
    assert verdict.outcome is Outcome.ERROR
    assert "probabilities and labels of 0 or 1 are wanted" in verdict.reason
    assert "belated" not in verdict.reason


def test_artifact_that_was_edited_is_an_error(tmp_path: Path) -> None:
    """A model whose bytes are wrong is not replayed; the reason says so."""
    days(tmp_path, 3)

    def load(_model: str, version: Version) -> Model:
        raise ArtifactTampered(f"version {version.number} is not what it was")

    found = measured(tmp_path, load).gather(ASKED)
    assert found == MissingEvidence(Outcome.ERROR, "version 1 is not what it was")


def test_one_row_without_features_does_not_spoil_the_window(tmp_path: Path) -> None:
    """A request whose row was not kept is left out; everything else is measured."""
    write(tmp_path, "predictions", [record(i, 1000.0, features=None if i == 0 else {"i": i}) for i in range(5)])
    write(tmp_path, "labels", [label(i, 1, 1200.0) for i in range(5)])
    found = measured(tmp_path, lambda _model, _version: Model(lambda row: 0.1 * int(str(row["i"])))).gather(ASKED)
    assert isinstance(found, PairedSums)
    assert (found.requests, found.unscored) == (4, 0)


def test_data_is_validated_as_it_was_asked(tmp_path: Path) -> None:
    """The suite sees every row of the window, and an empty window is an ERROR."""
    days(tmp_path, 7)
    ask = replace(ASKED, gate=make_gate("data", Metric.VALIDATION), kind=EvidenceKind.DATA)
    measure = measured(tmp_path, lambda _model, _version: Model(half))
    assert measure.gather(ask) == ValidationResult("sha256:s", 7, 1, (), left=ExcludedRecords(records=7))
    found = measure.gather(replace(ask, model="other"))
    assert isinstance(found, MissingEvidence)
    assert found.outcome is Outcome.ERROR


def shifted(root: Path, old: list[Mapping[str, object]], new: list[Mapping[str, object]]) -> dict[str, FeatureShift]:
    """Distances between the rows of two windows."""
    rows = [*((r, 100.0) for r in old), *((r, 1500.0) for r in new)]
    write(root, "predictions", [record(i, at, features=row) for i, (row, at) in enumerate(rows)])
    ask = replace(
        ASKED,
        gate=make_gate("inputs", Metric.INPUT_SHIFT, limit=0.1),
        kind=EvidenceKind.LIVE,
        since=1000.0,
        until=2000.0,
    )
    found = measured(root, lambda _model, _version: Model(half)).gather(ask)
    assert isinstance(found, DistributionShift)
    return {feature.name: feature for feature in found.features}


def test_distances_of_features(tmp_path: Path) -> None:
    """Numbers are compared by distribution, categories by shares; what came or went has moved altogether."""
    old: list[Mapping[str, object]] = [{"x": i, "c": "ab"[i % 2], "gone": 1} for i in range(10)]
    new: list[Mapping[str, object]] = [{"x": i + 5, "c": "abc"[i % 3], "came": 1} for i in range(9)]
    found = shifted(tmp_path, old, new)
    assert found["x"].distance == pytest.approx(0.5)
    assert found["x"].categories == 0
    assert found["c"].distance == pytest.approx(1 / 3)
    assert found["c"].categories == 3
    assert (found["gone"].distance, found["came"].distance) == (1.0, 1.0)
    assert (found["x"].reference, found["x"].current) == (10, 9)


def test_feature_that_became_text_has_moved(tmp_path: Path) -> None:
    """A column of numbers that becomes text, or empty, is as far away as can be."""
    old: list[Mapping[str, object]] = [{"x": i, "y": i} for i in range(10)]
    found = shifted(tmp_path, old, [{"x": "n/a", "y": None}] * 5)
    assert found["x"].distance == pytest.approx(1.0)
    assert found["y"].distance == pytest.approx(1.0)


def test_blocks_are_aligned_to_their_length(tmp_path: Path) -> None:
    """Blocks of an hour begin on the hour."""
    write(tmp_path, "predictions", [record(i, 3600.0 + 1800.0 * i) for i in range(4)])
    write(tmp_path, "labels", [label(i, 1, 3700.0 + 1800.0 * i) for i in range(4)])
    found = paired(house(tmp_path), replace(ASKED, gate=changed(QUALITY, block=3600.0)))
    assert found.slices[""] == tuple(
        PairedBlock(f"1970-01-01T0{hour}:00Z", 2, (500_000,), (500_000,)) for hour in (1, 2)
    )
