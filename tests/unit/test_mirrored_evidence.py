"""Evidence of a live shadow comes from its records: pairs, failures, costs; what is missing is never an agreement."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from surefoot.adapters.evidence.mirrored_answers import SHADOW_ANSWER_TIMEOUT_S, MirroredAnswers
from surefoot.adapters.evidence.prediction_log_evidence import PredictionLogEvidence
from surefoot.adapters.predictions.compaction import compact_log
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.domain import EvidenceKind, Outcome, Version
from surefoot.core.judging.evidence import (
    AnswerShapes,
    BadEventCounts,
    BadEventStratum,
    DistributionShift,
    Evidence,
    GaugeComparisons,
    MeasurementCounts,
    MissingEvidence,
    PairedSums,
    SlicedCounts,
)
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.excluded_records import ExcludedRecords
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.gates.implicit import ANSWER_SHAPE_GATE
from surefoot.core.policy.policy_types import Gate, Metric
from tests.gates import changed, make_gate

V1, V2 = (Version(n, f"sha256:{n * 64}") for n in "12")
SINCE, UNTIL = 1_000.0, 2_000.0
ERRORS = make_gate("errors", Metric.ERROR_RATE, margin=0.01)
SAME = make_gate("same", Metric.DISAGREEMENT, margin=None, limit=0.1, block=100.0)
LOSS = make_gate("loss", Metric.BRIER, margin=0.01, block=100.0, maturity=50.0)
SPEED = make_gate("speed", Metric.LATENCY, margin=0.2)
CPU = make_gate("cpu", Metric.RESOURCE, margin=0.2, column="cpu_ms")
MEMORY = make_gate("memory", Metric.GAUGE, margin=0.2, column="rss_mb", block=100.0)
QUESTION = EvidenceRequest(
    "m", ERRORS, EvidenceKind.LIVE_SHADOW, "", "r", V1, V2, SINCE, UNTIL, 900.0, 1_000.0, mirrored=100.0
)
COST = {"latency_ms": 9.0, "cpu_ms": 2.0, "rss_mb": 100.0, "model_ms": 3.0, "batch": 1}


def champion(number: int, **fields: object) -> dict[str, object]:
    """What the champion did with a request that came `number` seconds into the step."""
    return {
        "v": 1,
        "request": f"q{number}",
        "row": 0,
        "model": "m",
        "at": SINCE + number,
        "unit": "u",
        "arm": "champion",
        "version": "1",
        "answered_by": "1",
        "weight": 0.0,
        "generation": 7,
        "rollout": "r",
        "error": None,
        "prediction": 0.2,
        "features": {"place": "LGA" if number % 2 else "JFK"},
        **COST,
        **fields,
    }


def shadow(number: int, **fields: object) -> dict[str, object]:
    """What the shadow did with the same request."""
    made = {
        "v": 1,
        "request": f"q{number}",
        "row": 0,
        "model": "m",
        "at": SINCE + number,
        "unit": "u",
        "version": "2",
        "rollout": "r",
        "error": None,
        "prediction": 0.2,
        **COST,
        "latency_ms": 1.0,
    }
    return {**made, **fields}


def dropped(count: int, at: float = 1_500.0, **fields: object) -> dict[str, object]:
    """A line that says how many requests the shadow had no room for."""
    return {"v": 1, "at": at, "version": "2", "rollout": "r", "dropped": count, **fields}


def write(root: Path, **kinds: Iterable[dict[str, object]]) -> None:
    """Segments of each kind."""
    (root / "m").mkdir(exist_ok=True)
    for kind, lines in kinds.items():
        (root / "m" / f"{kind}-1-1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def gather(root: Path, gate: Gate, **fields: object) -> Evidence:
    """The evidence that the port gives."""
    log = PredictionLog(root)
    never = lambda *_: pytest.fail("no model is asked and nothing is validated")  # noqa: E731 - a stand-in for both
    evidence = PredictionLogEvidence(log, never, never, MirroredAnswers(log))  # type: ignore[arg-type]
    return evidence.gather(replace(QUESTION, gate=gate, **fields))  # type: ignore[arg-type]


NUMBERS = range(0, 990, 10)


def equal(root: Path, **fields: object) -> None:
    """Ninety-nine mirrored requests, which the shadow answered with these differences."""
    write(root, predictions=[champion(n) for n in NUMBERS], shadows=[shadow(n, **fields) for n in NUMBERS])


def test_failures_of_both_versions_are_counted_on_the_same_requests(tmp_path: Path) -> None:
    """The candidate's failures stand against the champion's; what both refuse is evidence about neither."""
    failed = {"error": "ValueError: no", "prediction": None}
    refused = {**failed, "answered_by": None}
    write(
        tmp_path,
        predictions=[champion(0, **refused), champion(1, **refused), *(champion(n) for n in range(2, 10))],
        shadows=[shadow(0, **failed), shadow(1), shadow(2, **failed), *(shadow(n) for n in range(3, 10))],
    )
    found = gather(tmp_path, ERRORS)
    assert isinstance(found, BadEventCounts)
    assert (found.strata, found.recent, found.trial) == ((BadEventStratum(0.5, 1, 8, 1, 8),), 7, "request")


def test_slices_of_mirrored_requests_are_counted_by_themselves(tmp_path: Path) -> None:
    """A gate by a column has the counts of each of its values."""
    write(
        tmp_path,
        predictions=[champion(n) for n in range(6)],
        shadows=[shadow(n, error="ValueError: no" if n == 1 else None) for n in range(6)],
    )
    found = gather(tmp_path, changed(ERRORS, by=("place",)))
    assert isinstance(found, SlicedCounts)
    assert {name: one.strata for name, one in found.slices.items()} == {
        "place=JFK": (BadEventStratum(0.5, 0, 3, 0, 3),),
        "place=LGA": (BadEventStratum(0.5, 1, 2, 0, 3),),
    }


def test_another_rollout_another_version_and_later_requests_do_not_count(tmp_path: Path) -> None:
    """Only what was mirrored to this candidate in this rollout until the moment of the look is evidence."""
    odd = [shadow(1, rollout="other"), shadow(2, version="3"), shadow(3)]
    write(tmp_path, predictions=[champion(n) for n in range(5)], shadows=[shadow(0), *odd])
    found = gather(tmp_path, ERRORS, until=SINCE + 2.5)
    assert isinstance(found, BadEventCounts)
    assert found.strata == (BadEventStratum(0.5, 0, 1, 0, 1),)


def test_what_was_revoked_is_neither_a_failure_nor_an_agreement(tmp_path: Path) -> None:
    """A request that was let go before the shadow had answered is no evidence of any kind."""
    revoked = shadow(1, error="Revoked: it was let go before it had answered", prediction=None)
    write(tmp_path, predictions=[champion(0), champion(1)], shadows=[shadow(0), revoked])
    errors, same = gather(tmp_path, ERRORS), gather(tmp_path, SAME)
    assert isinstance(errors, BadEventCounts)
    assert isinstance(same, PairedSums)
    assert errors.strata == (BadEventStratum(0.5, 0, 1, 0, 1),)
    assert (same.requests, same.unscored) == (1, 0)


def test_disagreements_are_read_from_the_records(tmp_path: Path) -> None:
    """Requests on which the two decide differently are counted by block; the block under way waits."""
    write(
        tmp_path,
        predictions=[champion(n) for n in NUMBERS],
        shadows=[shadow(n, prediction=0.9 if n % 100 == 50 else 0.2) for n in NUMBERS],
    )
    found = gather(tmp_path, SAME, until=UNTIL - 1.0)
    assert isinstance(found, PairedSums)
    assert found.requests == found.labelled == 90
    assert sum(block.candidate[0] for block in found.slices[""]) == 9_000_000
    verdict = judge(SAME, found, DecisionThresholds())
    assert verdict.figures[0].value == 0.0


def test_losses_of_mirrored_answers_wait_for_their_labels(tmp_path: Path) -> None:
    """A loss compares both answers with the same label once it has matured."""
    equal(tmp_path, prediction=0.9)
    labels = [{"v": 1, "request": f"q{n}", "row": 0, "label": 0, "at": SINCE + n + 5.0} for n in NUMBERS]
    write(tmp_path, labels=labels)
    found = gather(tmp_path, LOSS)
    assert isinstance(found, PairedSums)
    assert (found.requests, found.labelled) == (90, 90)
    assert judge(LOSS, found, DecisionThresholds()).outcome is Outcome.FAIL


def test_a_shadow_that_fails_too_many_requests_fails_its_losses(tmp_path: Path) -> None:
    """Requests that the candidate could not answer are unscored, as in a replay."""
    equal(tmp_path, error="ValueError: no", prediction=None)
    found = gather(tmp_path, SAME)
    assert isinstance(found, PairedSums)
    assert found.unscored == found.requests == 99
    assert judge(SAME, found, DecisionThresholds()).outcome is Outcome.FAIL


def test_speeds_compare_the_models_own_times_in_batches_of_one_size(tmp_path: Path) -> None:
    """A latency of a live shadow is that of the model itself, and a batch of another size is no comparison."""
    past = [champion(n, request=f"p{n}", at=500.0 + n, rollout="") for n in range(60)]
    write(
        tmp_path,
        predictions=[*past, *(champion(n, batch=2 if n < 3 else 1) for n in range(10))],
        shadows=[shadow(n, model_ms=6.0) for n in range(10)],
    )
    for gate, unit in ((SPEED, "ms (model alone)"), (CPU, "ms")):
        found = gather(tmp_path, gate)
        assert isinstance(found, MeasurementCounts)
        (stratum,) = found.strata
        assert [sum(n for _, n in side) for side in (stratum.candidate, stratum.champion)] == [7, 7]
        assert (stratum.candidate != stratum.champion) is (gate is SPEED)
        assert (found.unit, found.recent, stratum.share) == (unit, 10, 0.5)
    assert "6.00 ms (model alone)" in judge(SPEED, gather(tmp_path, SPEED), DecisionThresholds()).reason


def test_a_gauge_compares_the_processes_block_by_block(tmp_path: Path) -> None:
    """The memory of the candidate's process is held against the champion's in every complete block."""
    equal(tmp_path, rss_mb=150.0, batch=8)
    found = gather(tmp_path, MEMORY)
    assert isinstance(found, GaugeComparisons)
    assert (found.above, found.below, found.recent) == (10, 0, 99)


def test_shapes_and_shifts_are_read_from_the_answers(tmp_path: Path) -> None:
    """What the answers look like, and how they are distributed, is compared on the same requests."""
    equal(tmp_path, prediction=[0.5, 0.5])
    shapes = gather(tmp_path, ANSWER_SHAPE_GATE)
    assert isinstance(shapes, AnswerShapes)
    assert (shapes.champion, shapes.candidate, shapes.answered) == (("a number",), ("a list of 2 numbers",), 99)
    equal(tmp_path, prediction=0.8)
    moved = make_gate("moved", Metric.PREDICTION_SHIFT, limit=0.1, against="champion")
    shift = gather(tmp_path, moved)
    assert isinstance(shift, DistributionShift)
    assert shift.features[0].distance == 1.0
    before = [champion(n, request=f"p{n}", at=SINCE - 995.0 + n, rollout="", prediction=0.8) for n in NUMBERS]
    write(tmp_path, predictions=[*before, *(champion(n) for n in NUMBERS)])
    past = gather(tmp_path, changed(moved, against="before"))
    assert isinstance(past, DistributionShift)
    assert past.features[0].distance < 0.05


@pytest.mark.parametrize("gate", [ERRORS, SAME, SPEED, CPU, ANSWER_SHAPE_GATE], ids=lambda gate: gate.name)
def test_dropped_requests_are_missing_and_no_agreement(tmp_path: Path, gate: Gate) -> None:
    """Every verdict says how many mirrored requests were dropped, and they are in no count."""
    write(
        tmp_path,
        predictions=[champion(n) for n in range(200)],
        shadows=[*(shadow(n) for n in range(100)), dropped(60), dropped(40, version="3"), dropped(1, at=UNTIL + 1.0)],
    )
    found = gather(tmp_path, gate, mirrored=50.0)
    assert not isinstance(found, MissingEvidence)
    assert replace(found.left, requests=()) == ExcludedRecords(records=160, dropped=60)  # type: ignore[union-attr]
    assert "60 mirrored requests" in judge(gate, found, DecisionThresholds()).reason


def test_requests_whose_records_are_lost_are_missing_too(tmp_path: Path) -> None:
    """What neither was answered nor counted as dropped shows in the share of the requests that was to be mirrored."""
    write(tmp_path, predictions=[champion(n) for n in NUMBERS], shadows=[shadow(n) for n in NUMBERS[:40]])
    old = sum(SINCE + n <= UNTIL - SHADOW_ANSWER_TIMEOUT_S and SINCE + n > SINCE for n in NUMBERS)
    found = gather(tmp_path, ERRORS)
    assert isinstance(found, BadEventCounts)
    assert found.left.dropped == old - 40
    few = gather(tmp_path, ERRORS, mirrored=40.0)
    assert isinstance(few, BadEventCounts)
    assert few.left.dropped == 0


@pytest.mark.parametrize("gate", [SAME, LOSS, ANSWER_SHAPE_GATE, MEMORY, CPU, ERRORS], ids=lambda gate: gate.name)
def test_without_mirrored_requests_nothing_is_decided(tmp_path: Path, gate: Gate) -> None:
    """A step in which nothing was mirrored yet has no data, whatever the champion serves."""
    write(tmp_path, predictions=[champion(n) for n in range(50)])
    verdict = judge(gate, gather(tmp_path, gate), DecisionThresholds())
    assert verdict.outcome is Outcome.NO_DATA, verdict.reason


def test_an_answer_that_was_too_long_for_the_log_is_missing(tmp_path: Path) -> None:
    """A shadow that answered what is not in its log has neither failed nor agreed."""
    blank = shadow(1, prediction=None, left_out={"prediction": "too long"})
    write(tmp_path, predictions=[champion(0), champion(1)], shadows=[shadow(0), blank])
    found = gather(tmp_path, SAME)
    assert isinstance(found, PairedSums)
    assert (found.requests, found.unscored, found.left.dropped) == (1, 0, 1)


@pytest.mark.parametrize("gate", [SAME, ANSWER_SHAPE_GATE, MEMORY, CPU, ERRORS], ids=lambda gate: gate.name)
def test_a_compaction_changes_no_evidence(tmp_path: Path, gate: Gate) -> None:
    """The shadow's log becomes Parquet like the others, with its drops, and every count is what it was."""
    failed = {"error": "ValueError: no", "prediction": None}
    write(
        tmp_path,
        predictions=[champion(n) for n in NUMBERS],
        shadows=[*(shadow(n, **(failed if n == 30 else {})) for n in NUMBERS), dropped(7), {"v": 1, "at": 1_500.0}],
    )
    before = gather(tmp_path, gate)
    done = compact_log(tmp_path, "m")
    assert (done.segments, done.rows, done.torn) == (2, 199, 1)
    assert sorted(path.name.partition("-")[0] for path in (tmp_path / "m").glob("*.parquet")) == [
        "predictions",
        "shadows",
    ]
    assert gather(tmp_path, gate) == before
