"""Record files: what they are read as, how their traffic is split, and what is measured on them."""

import datetime as dt
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from surefoot.adapters.predictions.recorded import recorded_requests as module
from surefoot.adapters.predictions.recorded.recorded_requests import RecordedRequests
from surefoot.adapters.replay.recorded_answers import RecordedAnswers
from surefoot.core.assignment import assign_arm, compute_assignment_bucket
from surefoot.core.domain import EvidenceKind, Split, Version
from surefoot.core.errors import EvidenceUnavailable, Rejected
from surefoot.core.judging.evidence import (
    BadEventCounts,
    BadEventStratum,
    DistributionShift,
    MissingEvidence,
    PairedSums,
    ScoreBins,
)
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.policy.policy_types import Gate, Metric
from tests.gates import changed, make_gate

Row = dict[str, object]
HOUR, DAY = 3600.0, 86400.0
V1, V2 = Version("1", "sha256:1"), Version("2", "sha256:2")
BRIER = make_gate("quality", Metric.BRIER, margin=0.01, maturity=12 * HOUR, block=DAY)
SHADOW = EvidenceRequest("m", BRIER, EvidenceKind.SHADOW, "", "r", V1, V2, since=-1.0, until=10 * DAY, opened=10 * DAY)
Opens = Callable[..., RecordedRequests]


def record(request: str | None, arm: str = "champion", at: object = 1000.0, **fields: object) -> Row:
    """What one version did with one request."""
    made: Row = {"request": request, "at": at, "arm": arm, "version": "2" if arm == "candidate" else "1"}
    return {**made, "prediction": 0.5, **fields}


def pair(request: str, at: object = 1000.0, **fields: object) -> list[Row]:
    """What both versions did with one request."""
    return [record(request, arm, at, **fields) for arm in ("champion", "candidate")]


def write(path: Path, rows: list[Row]) -> Path:
    """A Parquet file with the columns that any of the rows has."""
    names = dict.fromkeys(name for row in rows for name in row)
    pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)
    return path


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opens]:
    """Opens record files of some rows, and closes them after the test."""
    files: list[RecordedRequests] = []

    def open_(rows: list[Row], labels: list[Row] | None = None) -> RecordedRequests:
        told = write(tmp_path / "labels.parquet", labels) if labels else None
        files.append(RecordedRequests(write(tmp_path / "records.parquet", rows), told))
        return files[-1]

    yield open_
    for file in files:
        file.close()


NOON = 1_767_268_800.0  # 2026-01-01 12:00 UTC
BERLIN = dt.timezone(dt.timedelta(hours=1))


@pytest.mark.parametrize(
    "at",
    [
        NOON,
        int(NOON),
        str(NOON),
        dt.datetime(2026, 1, 1, 12),  # noqa: DTZ001 - a timestamp without a zone is UTC
        dt.datetime(2026, 1, 1, 13, tzinfo=BERLIN),
        "2026-01-01 12:00:00",
        "2026-01-01T13:00:00+01:00",
    ],
)
def test_times_may_be_seconds_or_timestamps(opened: Opens, at: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same moment is the same number however it is written, whatever zone the reader lives in."""
    monkeypatch.setenv("TZ", "America/New_York")
    file = opened(pair("a", at=at), [{"request": "a", "label": 1, "at": at}])
    assert (file.first, file.last) == (NOON, NOON)
    assert file.query_rows("", 'SELECT "at" FROM labels') == [(NOON,)]


def scored(file: RecordedRequests, gate: Gate = BRIER, until: float = 10 * DAY) -> PairedSums:
    """Paired evidence that must be there."""
    found = RecordedAnswers(file).paired_loss_evidence(replace(SHADOW, gate=gate, until=until))
    assert isinstance(found, PairedSums)
    return found


def test_repeated_records_count_once(opened: Opens) -> None:
    """Of several records of one version for one request row the first in time counts, then the first in the file."""
    rows = [
        *pair("a", at=2000.0, prediction=0.9),
        *pair("a", at=1000.0, prediction=0.0),
        *pair("a", at=1000.0, prediction=0.7),
        *pair("a", at=1000.0, row=1, prediction=1.0),
    ]
    file = opened(rows, [{"request": "a", "row": row, "label": 1, "at": 1001.0} for row in (0, 1)])
    assert file.requests == 2
    assert scored(file).slices[""][0].champion == (1_000_000,)  # 1 for the row that said 0, 0 for the one that said 1


def test_late_corrected_and_unknown_labels_are_counted(opened: Opens) -> None:
    """The last label in time counts; what came late, again or for nobody is counted as such."""
    requests = [row for name in ("good", "late", "again", "same", "none", "future") for row in pair(name)]
    labels: list[Row] = [
        {"request": "good", "label": 1, "at": HOUR},
        {"request": "late", "label": 1, "at": 13 * HOUR},
        {"request": "again", "label": 0, "at": 2 * HOUR},
        {"request": "again", "label": 1, "at": HOUR},
        {"request": "same", "label": 1, "at": HOUR},
        {"request": "same", "label": 1, "at": HOUR},
        {"request": "nobody", "label": 1, "at": HOUR},
        {"request": "good", "row": 1, "label": 1, "at": HOUR},
        {"request": "future", "label": 1, "at": 20 * DAY},
        {"request": "none", "label": None, "at": HOUR},
    ]
    rows = [{**row, "prediction": 1.0} for row in requests]
    found = scored(opened(rows, labels))
    assert (found.requests, found.labelled, found.late) == (6, 3, 1)
    assert (found.corrected, found.unknown) == (2, 2)
    assert found.slices[""][0].champion == (1_000_000,)  # "again" was corrected to 0


def test_labels_may_come_with_the_records(opened: Opens) -> None:
    """A label in the records is known at its own time, or with its request when it has none, on either version."""
    rows = [
        record("a", label=1),
        record("a", "candidate"),
        record("b"),
        record("b", "candidate", label=0, label_at=13 * HOUR),
    ]
    found = scored(opened(rows))
    assert (found.requests, found.labelled, found.late) == (2, 1, 1)


def test_what_is_not_finite_is_no_answer_and_no_label(opened: Opens) -> None:
    """NaN and infinities are neither answers nor labels, and an empty text is no error."""
    rows = [
        record("a", label=1.0, error=""),
        record("a", "candidate", prediction=math.nan, error=""),
        record("b", prediction=math.inf, label=1.0),
        record("b", "candidate"),
        *pair("c", label=math.nan, latency_ms=math.nan),
    ]
    file = opened(rows)
    found = scored(file)
    assert (found.requests, found.labelled, found.unscored, found.late) == (2, 1, 1, 0)
    failures = RecordedAnswers(file).failure_evidence(SHADOW)
    assert isinstance(failures, BadEventCounts)
    assert failures.strata == (BadEventStratum(0.5, 0, 3, 0, 3),)


def split(weight: float) -> Split:
    """The candidate answers a share of the units."""
    return Split(V1, V2, weight, "salt", "r")


def arms(file: RecordedRequests) -> list[tuple[object, ...]]:
    """Who was in which arm, in the order of time."""
    return file.query_rows("", 'SELECT coalesce(unit, request), arm, version, weight FROM log ORDER BY "at"')


@pytest.mark.parametrize("unit", ["customer", None])
def test_unit_sticks_to_its_arm_while_the_weight_grows(opened: Opens, unit: str | None) -> None:
    """Units and requests are where the gateway would have sent them, and nobody leaves the candidate."""
    steps = {0.0: 5.0, 100.0: 25.0, 200.0: 50.0}
    rows = []
    for at in range(300):
        rows += pair(f"r{at}", at=float(at), unit=unit and f"{unit} {at % 100}")
    file = opened(rows)
    for since, share in steps.items():
        file.shift(since, split(share))
    found = arms(file)
    for at, (key, arm, version, weight) in enumerate(found):
        wanted = steps[at // 100 * 100.0]
        assert (arm, version, weight) == (
            assign_arm(split(wanted), str(key)),
            "2" if compute_assignment_bucket("salt", str(key)) < wanted else "1",
            wanted,
        )
    if unit:
        first, second, third = (
            {key for key, arm, *_ in found[n : n + 100] if arm == "candidate"} for n in (0, 100, 200)
        )
        assert first < second < third


def test_single_answers_stay_where_they_were(opened: Opens) -> None:
    """A request of one version keeps its arm and its own weight; beside the arm that serves alone it is left out."""
    rows = [
        record("old", at=1.0, weight=0.0),
        record("was champion", at=11.0, weight=20.0),
        record("was candidate", "candidate", at=12.0, weight=20.0),
        record("champion again", at=21.0, weight=20.0),
        record("candidate again", "candidate", at=22.0, weight=20.0),
    ]
    file = opened(rows)
    file.shift(5.0, Split(V1, None, 0.0, ""))
    file.shift(10.0, split(99.0))
    file.shift(20.0, Split(V2, None, 0.0, "salt", "r"))
    assert arms(file) == [
        ("old", "champion", "1", 0.0),
        ("was champion", "champion", "1", 20.0),
        ("was candidate", "candidate", "2", 20.0),
        ("candidate again", "champion", "2", 0.0),
    ]


def test_features_are_all_other_columns(opened: Opens) -> None:
    """Every other column is a feature, even one that has a name of ours; an index of pandas is none."""
    names = ("region", "paired", "n", "place", "side")
    rows = [{**row, **dict.fromkeys(names, "x"), "__index_level_0__": n} for n, row in enumerate(pair("a", label=1))]
    file = opened(rows)
    file.shift(0.0, split(50.0))
    assert file.features == names
    assert file.read_features("", 0.0, DAY).to_dict("records") == [dict.fromkeys(names, "x")]
    assert {name for name, apart, _ in file.unequal_feature_shares(0.0, DAY) if not apart} == set(names)
    assert scored(file, changed(BRIER, by=("side",))).slices.keys() == {"", "side=x"}
    assert file.query_rows("", f"SELECT {file.slice_sql('n')} FROM log") == [("x",)]  # noqa: S608 - the file has quoted it


def test_column_that_is_not_there_is_named(opened: Opens) -> None:
    """A slice by a column that the file does not have is refused by name, and so is a measurement."""
    file = opened(pair("a"))
    for ask in (lambda: scored(file, changed(BRIER, by=("region",))), lambda: file.slice_sql("region")):
        with pytest.raises(Rejected, match="the records have no column 'region' to make slices of"):
            ask()
    with pytest.raises(EvidenceUnavailable, match=r"the records cannot answer: .*tokens"):
        file.query_rows("", "SELECT tokens FROM labels")


def month() -> list[Row]:
    """Requests of thirty days with scores and labels of their own."""
    rng = np.random.default_rng(3)
    made: list[Row] = []
    for n, at in enumerate(np.sort(rng.random(600)) * 30 * DAY):
        label = int(rng.random() < 0.4) if rng.random() < 0.9 else None
        both = pair(f"r{n}", float(at), label=label, label_at=float(at + rng.random() * 14 * HOUR), region="NS"[n % 2])
        made += [{**row, "prediction": float(rng.random())} for row in both]
    return made


def evidence(file: RecordedRequests) -> tuple[object, ...]:
    """Everything that is measured on pairs."""
    asked = replace(SHADOW, until=29.5 * DAY, gate=changed(BRIER, by=("region",)))
    made = RecordedAnswers(file)
    fed = replace(asked, gate=make_gate("fed", Metric.INPUT_SHIFT, against="champion"))
    return (
        made.paired_loss_evidence(asked),
        made.past_scores(asked),
        made.answer_shift(asked),
        made.failure_evidence(asked),
        made.input_differences(fed),
    )


def test_order_and_cut_of_a_file_change_nothing(opened: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same records in any order, read in chunks of any size, are the same evidence to the last bit."""
    rows = month()
    whole = evidence(opened(rows))
    monkeypatch.setattr(module, "CHUNK_ROWS", 100)
    assert evidence(opened([rows[n] for n in np.random.default_rng(4).permutation(len(rows))])) == whole
    sums, bins, shift, *_ = whole
    assert isinstance(sums, PairedSums)
    assert isinstance(bins, ScoreBins)
    assert isinstance(shift, DistributionShift)
    past, later, now = (sum(n for n, *_ in part) for part in (bins.past, bins.checked, bins.now))
    assert later - past in {0, 1}
    assert (past + later, now) == (_ripe(rows), sum(29.0 * DAY < float(str(r["at"])) <= 29.5 * DAY for r in rows) // 2)


def _ripe(rows: list[Row]) -> int:
    frame = pd.DataFrame(rows).query("arm == 'candidate' and label == label")
    return int(((frame["at"] <= 29.0 * DAY) & (frame["label_at"] <= frame["at"] + 12 * HOUR)).sum())


def test_large_windows_are_sampled_evenly(opened: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at row by row is a sample of the whole window, the same one every time."""
    monkeypatch.setattr(module, "MAX_EXAMINED_REQUESTS", 50)
    file = opened(month())
    file.shift(0.0, Split(V1, None, 0.0, ""))
    frame = file.read_features("", -1.0, 30 * DAY)
    assert len(frame) == 50
    assert len(file.read_predictions("", -1.0, 30 * DAY)) == 50
    assert [len(side) for side in file.sample_answers(-1.0, 30 * DAY)] == [50, 50]
    assert frame.equals(file.read_features("", -1.0, 30 * DAY))


def test_window_without_pairs_is_no_data(opened: Opens) -> None:
    """Where no request was answered by both versions nothing is measured, and no chunk is empty."""
    file = opened([record("a", weight=5.0), record("b", "candidate", weight=5.0)])
    made = RecordedAnswers(file)
    assert scored(file).requests == 0
    for found in (made.failure_evidence(SHADOW), made.answer_shift(SHADOW), made.past_scores(SHADOW)):
        assert isinstance(found, MissingEvidence)
        assert "no request of the window was answered by both versions" in found.reason
