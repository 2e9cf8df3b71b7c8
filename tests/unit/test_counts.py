"""Counts of what was served, from real prediction logs: what is one trial, and whose it is."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from surefoot.adapters.evidence.live_counts.bad_event_counts import count_bad_events
from surefoot.adapters.evidence.live_counts.bounded_value_counts import count_bounded_values
from surefoot.adapters.evidence.live_counts.measurement_histograms import count_measurements
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.domain import EvidenceKind, Outcome, Version
from surefoot.core.errors import EvidenceUnavailable
from surefoot.core.gates.measurement_quantiles import MIN_VALUES_BEYOND_QUANTILE
from surefoot.core.judging.evidence import (
    BadEventCounts,
    BadEventStratum,
    MeasurementCounts,
    MeasurementStratum,
    MissingEvidence,
    ValueCounts,
)
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import Metric
from surefoot.core.stats.histogram import bucket_of
from tests.gates import changed, make_gate

ERRORS = make_gate("errors", Metric.ERROR_RATE, margin=0.01)
LATENCY = make_gate("latency", Metric.LATENCY, margin=0.2, quantiles=(0.9,))
LEAST_HISTORY = 10 * MIN_VALUES_BEYOND_QUANTILE
"""Measurements without which no p90 is frozen [count]."""
V1, V2 = Version("1", "sha256:1"), Version("2", "sha256:2")
LIVE = EvidenceRequest(
    "m", ERRORS, EvidenceKind.LIVE, "", "r", V1, V2, since=1000.0, until=2000.0, opened=1000.0, epoch=1e9
)
BAKE = replace(LIVE, kind=EvidenceKind.BAKE, since=1500.0)


def record(request: str, at: float = 1100.0, **fields: Any) -> dict[str, object]:
    """One line of the prediction log: the champion answered under a weight of five percent."""
    arm = fields.get("arm", "champion")
    version = fields.get("version", "2" if arm == "candidate" else "1")
    made: dict[str, object] = {
        "v": 1,
        "request": request,
        "row": 0,
        "model": "m",
        "at": at,
        "unit": None,
        "arm": arm,
        "version": version,
        "answered_by": version,
        "weight": 5.0,
        "generation": 7,
        "rollout": "r",
        "latency_ms": 10.0,
        "error": None,
        "prediction": 0.5,
        "features": {"x": 1.0},
    }
    return {**made, **fields}


def before(request: str, **fields: Any) -> dict[str, object]:
    """A request that the champion answered before the rollout."""
    return record(request, at=900.0, weight=0.0, rollout="", **fields)


def write(
    root: Path, *records: Mapping[str, object], name: str = "predictions-1-1.jsonl", tail: bytes = b""
) -> PredictionLog:
    """A prediction log as a gateway leaves it."""
    folder = root / "m"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"".join(json.dumps(item).encode() + b"\n" for item in records) + tail)
    return PredictionLog(root)


def errors(log: PredictionLog, question: EvidenceRequest = LIVE) -> BadEventCounts:
    """Counts that must be there."""
    found = count_bad_events(log, question)
    assert isinstance(found, BadEventCounts)
    return found


def test_requests_by_weight_and_arm(tmp_path: Path) -> None:
    """Each weight is a stratum of its own, in order; failures of the candidate count though the champion answered."""
    late: dict[str, Any] = {"error": "Late: 1000 ms", "answered_by": "1"}
    log = write(
        tmp_path,
        *(record(f"a{i}", arm="candidate", weight=50.0) for i in range(3)),
        *(record(f"b{i}", arm="candidate", weight=50.0, **late) for i in range(2)),
        *(record(f"c{i}", weight=50.0) for i in range(4)),
        *(record(f"d{i}", arm="candidate", **late) for i in range(1)),
        *(record(f"e{i}") for i in range(7)),
        record("f", error="ValueError: no", answered_by=None, prediction=None),
    )
    found = errors(log)
    assert found.strata == (BadEventStratum(0.05, 1, 0, 1, 7), BadEventStratum(0.5, 2, 3, 0, 4))
    assert (found.trial, found.recent, found.baseline) == ("request", 18, None)


def test_unit_counts_once_per_rollout(tmp_path: Path) -> None:
    """However often a unit comes, it is one trial: where it first went wrong, or else where it was seen last."""
    log = write(
        tmp_path,
        *(record(f"a{i}", unit="ann", arm="candidate", error="E: x" if i == 3 else None) for i in range(9)),
        *(record(f"b{i}", unit="bob", arm="candidate") for i in range(9)),
        *(record(f"c{i}", unit="cid") for i in range(9)),
        *(record(f"d{i}", at=1200.0, unit="ann", arm="candidate", weight=50.0) for i in range(9)),
        *(record(f"e{i}", at=1200.0, unit="bob", arm="candidate", weight=50.0) for i in range(9)),
    )
    found = errors(log)
    assert found.strata == (BadEventStratum(0.05, 1, 0, 0, 1), BadEventStratum(0.5, 0, 1, 0, 0))
    assert (found.trial, found.recent) == ("unit", 45)


def test_rows_of_one_request_are_one_trial(tmp_path: Path) -> None:
    """A request of a hundred rows fails or succeeds, and is slow or fast, once."""
    bulk = [record("bulk", row=row, arm="candidate", error="E: x", latency_ms=500.0) for row in range(100)]
    history = [before(f"h{i}", latency_ms=float(i)) for i in range(LEAST_HISTORY)]
    log = write(tmp_path, *bulk, *(record(f"c{i}") for i in range(3)), *history)
    found = errors(log)
    assert (found.strata, found.recent) == ((BadEventStratum(0.05, 1, 0, 0, 3),), 4)
    slow = count_measurements(log, replace(LIVE, gate=LATENCY))
    assert isinstance(slow, MeasurementCounts)
    assert [sum(n for _, n in side) for side in (slow.strata[0].candidate, slow.strata[0].champion)] == [1, 3]
    assert slow.recent == 4


def test_bulk_request_is_no_history(tmp_path: Path) -> None:
    """Fifty rows of one request are one latency, from which no quantile is frozen."""
    log = write(tmp_path, *(before("bulk", row=row) for row in range(LEAST_HISTORY)))
    found = count_measurements(log, replace(LIVE, gate=LATENCY))
    assert isinstance(found, MeasurementCounts)
    assert sum(n for _, n in found.baseline) == 1
    assert judge(LATENCY, found, DecisionThresholds()).outcome is Outcome.NO_DATA


@pytest.mark.parametrize(("quantile", "least"), [(0.5, 10), (0.9, 50), (0.99, 500)])
def test_quantile_is_frozen_from_enough_beyond_it(quantile: float, least: int) -> None:
    """A quantile takes five measurements beyond it: ten for a median, fifty for p90, five hundred for p99."""
    gate = changed(LATENCY, quantiles=(0.5, quantile))
    for total, outcome in ((least - 1, Outcome.NO_DATA), (least, Outcome.INCONCLUSIVE)):
        found = MeasurementCounts((MeasurementStratum(0.5, cells(1.0), cells(1.0)),), ((bucket_of(1.0), total),))
        verdict = judge(gate, found, DecisionThresholds())
        assert verdict.outcome is outcome, verdict.reason
        assert (f"{total} measurements from before the rollout; p{quantile * 100:g} takes" in verdict.reason) == (
            total < least
        )


def test_repeated_request_id_counts_the_first(tmp_path: Path) -> None:
    """A caller that repeats its request id is counted by what happened the first time."""
    log = write(
        tmp_path,
        record("a", at=1200.0, arm="candidate", error="E: x"),
        record("a", at=1100.0, arm="candidate"),
        record("b", arm="candidate"),
    )
    assert errors(log).strata == (BadEventStratum(0.05, 0, 2, 0, 0),)


def test_bake_counts_requests_of_the_candidate_alone(tmp_path: Path) -> None:
    """After promotion each request is a trial, sticky unit or not; what came before is left out."""
    log = write(
        tmp_path,
        *(
            record(f"a{i}", at=1600.0, unit="ann", version="2", weight=0.0, error="E: x" if i < 2 else None)
            for i in range(5)
        ),
        *(record(f"b{i}", at=1200.0, unit="bob", arm="candidate") for i in range(9)),
        *(record(f"c{i}", at=1600.0, version="1", weight=0.0) for i in range(9)),
    )
    found = errors(log, BAKE)
    assert found.strata == (BadEventStratum(1.0, 2, 3, 0, 0),)
    assert (found.trial, found.recent) == ("request", 5)


def test_baseline_is_the_champions_history(tmp_path: Path) -> None:
    """The champion's rate before the rollout, whatever happened since; other versions' history is not its own."""
    log = write(
        tmp_path,
        *(before(f"h{i}", error="E: x" if i < 3 else None) for i in range(60)),
        *(before(f"o{i}", version="0", error="E: x") for i in range(60)),
        *(record(f"c{i}", error="E: x") for i in range(60)),
    )
    assert errors(log).baseline == pytest.approx(3 / 60)


def test_baseline_of_a_bake_includes_the_ramp(tmp_path: Path) -> None:
    """A champion that was never logged before the rollout has shown its rate while both served."""
    log = write(
        tmp_path,
        *(record(f"c{i}", error="E: x" if i < 2 else None) for i in range(40)),
        *(record(f"d{i}", arm="candidate", error="E: x") for i in range(40)),
        record("a", at=1600.0, version="2", weight=0.0),
    )
    assert errors(log).baseline is None
    assert errors(log, BAKE).baseline == pytest.approx(2 / 40)


def test_nothing_served_is_no_data(tmp_path: Path) -> None:
    """A log without this rollout, and no log at all, is NO_DATA."""
    for log in (PredictionLog(tmp_path / "nowhere"), write(tmp_path, before("h"), record("x", rollout="other"))):
        found = count_bad_events(log, LIVE)
        assert isinstance(found, MissingEvidence)
        assert found.outcome is Outcome.NO_DATA


def test_future_and_other_rollouts_are_left_out(tmp_path: Path) -> None:
    """Counts end at the question's time and at the rollout's door."""
    log = write(tmp_path, record("a"), record("b", at=2000.1), record("c", rollout="other"), record("d", at=2000.0))
    assert errors(log).strata == (BadEventStratum(0.05, 0, 0, 0, 2),)


def test_recent_counts_since_the_step_began(tmp_path: Path) -> None:
    """Requests before the step are evidence, but do not count towards its minimum."""
    log = write(tmp_path, *(record(f"a{i}", at=1000.0 + 100 * i) for i in range(10)))
    found = errors(log, replace(LIVE, since=1500.0))
    assert found.strata[0].champion == 10
    assert found.recent == 4


@pytest.mark.parametrize(
    "tail", [b'{"v":1,"request":"torn","row":0,"at":11', b"\n", b"\x00\x00\n", b"not json\n", b"[1, 2]\n"]
)
def test_torn_lines_are_left_out(tmp_path: Path, tail: bytes) -> None:
    """What a crash or a full disk leaves behind is skipped, and everything else is counted."""
    log = write(tmp_path, record("a"), record("b", arm="candidate"), tail=tail)
    write(tmp_path, record("c"), name="predictions-2-2.jsonl")
    assert errors(log).strata == (BadEventStratum(0.05, 0, 1, 0, 2),)


def test_empty_and_foreign_files_are_left_out(tmp_path: Path) -> None:
    """Only segments of predictions are read, and an empty one is no error."""
    log = write(tmp_path, record("a"))
    write(tmp_path, name="predictions-3-3.jsonl")
    write(tmp_path, record("x"), name="notes.jsonl")
    assert errors(log).strata[0].champion == 1


def test_quote_in_a_path(tmp_path: Path) -> None:
    """A folder with a quote in its name is read like any other."""
    odd = tmp_path / "o'brien"
    odd.mkdir()
    assert errors(write(odd, record("a"))).strata[0].champion == 1


def test_log_that_cannot_be_read_is_unavailable(tmp_path: Path) -> None:
    """A question that the database refuses is our error, by name."""
    log = write(tmp_path, record("a"))
    with pytest.raises(EvidenceUnavailable, match="prediction log of m"):
        log.query_rows("m", "SELECT no_such_column FROM log")


def history(n: int = 200) -> list[dict[str, object]]:
    """Latencies 1 to n of the champion before the rollout."""
    return [before(f"h{i}", latency_ms=float(i + 1)) for i in range(n)]


def cells(*values: float) -> tuple[tuple[int, int], ...]:
    """A histogram of some values."""
    numbers = [bucket_of(value) for value in values]
    return tuple((number, numbers.count(number)) for number in sorted(set(numbers)))


def test_latency_histograms(tmp_path: Path) -> None:
    """Both arms, and the champion's own past, are counted in log buckets under each weight."""
    log = write(
        tmp_path,
        *history(),
        *(record(f"a{i}", arm="candidate", latency_ms=ms) for i, ms in enumerate([100.0, 190.0, 230.0])),
        *(record(f"b{i}", latency_ms=ms) for i, ms in enumerate([100.0, 170.0, 190.0, 230.0])),
        record("c", arm="candidate", weight=50.0, latency_ms=999.0),
    )
    assert count_measurements(log, replace(LIVE, gate=LATENCY)) == MeasurementCounts(
        (
            MeasurementStratum(0.05, cells(100.0, 190.0, 230.0), cells(100.0, 170.0, 190.0, 230.0)),
            MeasurementStratum(0.5, cells(999.0), ()),
        ),
        cells(*range(1, 201)),
        "ms",
        8,
    )


def test_latency_of_a_bake(tmp_path: Path) -> None:
    """After promotion the candidate alone is held against the frozen past of the champion."""
    log = write(
        tmp_path, *history(), *(record(f"a{i}", at=1600.0, version="2", weight=0.0, latency_ms=500.0) for i in range(4))
    )
    found = count_measurements(log, replace(BAKE, gate=LATENCY))
    assert isinstance(found, MeasurementCounts)
    assert found.strata == (MeasurementStratum(1.0, cells(500.0, 500.0, 500.0, 500.0), ()),)


def test_any_measured_column_is_counted(tmp_path: Path) -> None:
    """A resource is counted like a latency, over the requests that have it."""
    log = write(tmp_path, record("a", arm="candidate", cpu_ms=3.0), record("b", cpu_ms=2.0), record("c"))
    found = count_measurements(log, replace(LIVE, gate=make_gate("cpu", Metric.RESOURCE, margin=0.2, column="cpu_ms")))
    assert isinstance(found, MeasurementCounts)
    assert found.strata == (MeasurementStratum(0.05, cells(3.0), cells(2.0)),)


def test_two_versions_in_one_arm_are_an_error(tmp_path: Path) -> None:
    """Two series under one name are no evidence about either."""
    log = write(tmp_path, record("a", arm="candidate", version="2"), record("b", arm="candidate", version="3"))
    for found in (count_bad_events(log, LIVE), count_measurements(log, replace(LIVE, gate=LATENCY))):
        assert isinstance(found, MissingEvidence)
        assert found.outcome is Outcome.ERROR
        assert "(2, 3)" in found.reason


def test_epochs_count_from_the_first_request(tmp_path: Path) -> None:
    """Each epoch is a stratum of its own; what comes after the planned end is in the last one."""
    log = write(tmp_path, *(record(f"a{i}", at=1010.0 + 10 * i) for i in range(6)), record("z", at=1990.0))
    found = errors(log, replace(LIVE, epoch=20.0))
    assert [(s.epoch, s.champion) for s in found.strata] == [(0, 2), (1, 2), (2, 2), (23, 1)]


def test_missing_labels_are_counted_at_maturity(tmp_path: Path) -> None:
    """A label that comes after its maturity is missing, whenever it comes; young requests are not counted yet."""
    log = write(tmp_path, *(record(f"a{i}", at=1100.0 + i) for i in range(3)), record("young", at=1950.0))
    folder = tmp_path / "m"
    labels = [{"v": 1, "request": r, "row": 0, "label": 1, "at": at} for r, at in (("a0", 1150.0), ("a1", 1800.0))]
    (folder / "labels-1-1.jsonl").write_bytes(b"".join(json.dumps(item).encode() + b"\n" for item in labels))
    found = count_bad_events(
        log, replace(LIVE, gate=make_gate("labels", Metric.MISSING_LABEL, margin=0.01, maturity=100.0))
    )
    assert isinstance(found, BadEventCounts)
    assert found.strata == (BadEventStratum(0.05, 0, 0, 2, 1),)


def test_values_are_levels_of_their_cap(tmp_path: Path) -> None:
    """A value counts up to its cap, a request without one has brought nothing, and history gives the centre."""
    log = write(
        tmp_path,
        *(record(f"a{i}", arm="candidate") for i in range(3)),
        record("b"),
        *(before(f"h{i}") for i in range(4)),
    )
    folder = tmp_path / "m"
    known = {"a0": 500.0, "a1": 50.0, "b": 25.0, "h0": 100.0, "h1": 100.0}
    labels = [{"v": 1, "request": r, "row": 0, "label": {"paid": paid}, "at": 910.0} for r, paid in known.items()]
    (folder / "labels-1-1.jsonl").write_bytes(b"".join(json.dumps(item).encode() + b"\n" for item in labels))
    gate = make_gate("value", Metric.VALUE, margin=1.0, column="paid", cap=100.0, maturity=50.0)
    found = count_bounded_values(log, replace(LIVE, gate=gate))
    assert isinstance(found, ValueCounts)
    (stratum,) = found.strata
    assert {level: n for level, n in enumerate(stratum.candidate) if n} == {0: 1, 32: 1, 64: 1}
    assert {level: n for level, n in enumerate(stratum.champion) if n} == {16: 1}
    assert found.center == 0.5


def test_segments_may_be_cut_anyhow(tmp_path: Path) -> None:
    """The same records in one segment or in many, in any order, give the same evidence to the bit."""
    rows = [
        record(
            f"q{i}",
            at=1000.0 + i,
            unit=f"u{i % 37}",
            arm=("candidate", "champion")[i % 37 % 2],
            error="E: x" if i % 11 == 0 else None,
        )
        for i in range(400)
    ] + history()
    one, many = tmp_path / "one", tmp_path / "many"
    one.mkdir()
    many.mkdir()
    first = write(one, *rows)
    for part in range(7):
        second = write(many, *rows[::-1][part::7], name=f"predictions-{9 - part}-1.jsonl")
    for ask in (LIVE, replace(LIVE, gate=LATENCY)):
        count = count_bad_events if ask.gate is ERRORS else count_measurements
        assert count(first, ask) == count(second, ask)
