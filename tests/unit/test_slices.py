"""Served traffic by slice: counted from real logs, judged slice by slice, planned and journalled."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from surefoot.adapters.evidence.live_counts.bad_event_counts import count_bad_events
from surefoot.adapters.evidence.live_counts.bounded_value_counts import count_bounded_values
from surefoot.adapters.evidence.live_counts.measurement_histograms import count_measurements
from surefoot.core.canonical_text import format_slice_name
from surefoot.core.domain import Outcome
from surefoot.core.errors import Rejected
from surefoot.core.judging.evidence import (
    BadEventCounts,
    BadEventStratum,
    MeasurementCounts,
    MissingEvidence,
    SlicedCounts,
    ValueCounts,
)
from surefoot.core.judging.evidence_json import decode_evidence, encode_evidence
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import Gate, Metric
from surefoot.core.policy.violations import Violation
from tests.fakes import POLICY
from tests.gates import changed, gate_of, make_gate
from tests.unit.test_counts import LIVE, before, record, write

BY = make_gate("errors", Metric.ERROR_RATE, margin=0.01, by=("origin",), min_per_slice=4)
LEVEL = DecisionThresholds(0.01)


def at(origin: object, index: int, **fields: Any) -> dict[str, object]:
    """One request from an airport."""
    return record(f"{origin}{index}", features={"origin": origin, "odd 'key\"": origin}, **fields)


def counted(log: object, gate: Gate = BY) -> SlicedCounts:
    """Counts that must be there."""
    found = count_bad_events(log, replace(LIVE, gate=gate))  # type: ignore[arg-type]
    assert isinstance(found, SlicedCounts)
    return found


def test_each_value_of_a_column_is_counted_for_itself(tmp_path: Path) -> None:
    """Errors are told apart by the request's own value; a request without one is a slice too, and so is the past."""
    log = write(
        tmp_path,
        *(at("LGA", i, arm="candidate", error="E: x") for i in range(3)),
        *(at("LGA", i + 5) for i in range(2)),
        *(at("JFK", i, arm="candidate") for i in range(4)),
        at(None, 0),
        before("old", features={"origin": "EWR"}, error="E: x"),
    )
    found = counted(log)
    assert {name: part.strata for name, part in found.slices.items() if isinstance(part, BadEventCounts)} == {
        "origin=(missing)": (BadEventStratum(0.05, 0, 0, 0, 1),),
        "origin=EWR": (),
        "origin=JFK": (BadEventStratum(0.05, 0, 4, 0, 0),),
        "origin=LGA": (BadEventStratum(0.05, 3, 0, 0, 2),),
    }
    ewr = found.slices["origin=EWR"]
    assert isinstance(ewr, BadEventCounts)
    assert (ewr.baseline, ewr.history) == (1.0, 1)
    assert found.recent == 10


def test_a_unit_counts_once_in_each_slice_that_it_is_seen_in(tmp_path: Path) -> None:
    """A plane that fails at one airport is one bad trial there, and a good one where it did not fail."""
    log = write(
        tmp_path,
        *(at("LGA", i, unit="n1", arm="candidate", error="E: x" if i else None) for i in range(4)),
        *(at("JFK", i, unit="n1", arm="candidate") for i in range(4)),
    )
    found = counted(log)
    assert [found.slices[name].strata for name in ("origin=JFK", "origin=LGA")] == [
        (BadEventStratum(0.05, 0, 1, 0, 0),),
        (BadEventStratum(0.05, 1, 0, 0, 0),),
    ]


def test_several_columns_and_strange_names(tmp_path: Path) -> None:
    """Slices of two columns stand side by side, and a column's name may hold quotes."""
    log = write(tmp_path, at("LGA", 1), at("JFK", 2))
    found = counted(log, changed(BY, by=("origin", "odd 'key\"")))
    assert set(found.slices) == {f"{column}={value}" for column in ("origin", "odd 'key\"") for value in ("LGA", "JFK")}


def test_speeds_and_values_by_slice(tmp_path: Path) -> None:
    """Latencies and revenues are told apart in the same way."""
    log = write(tmp_path, *(at(port, i, latency_ms=10.0 + i) for port in ("LGA", "JFK") for i in range(3)))
    slow = count_measurements(log, replace(LIVE, gate=make_gate("l", Metric.LATENCY, by=("origin",))))
    assert isinstance(slow, SlicedCounts)
    assert all(isinstance(part, MeasurementCounts) for part in slow.slices.values())
    money = make_gate("v", Metric.VALUE, column="label", by=("origin",), maturity=10.0)
    rich = count_bounded_values(log, replace(LIVE, gate=money))
    assert isinstance(rich, SlicedCounts)
    assert all(isinstance(part, ValueCounts) for part in rich.slices.values())
    assert set(slow.slices) == set(rich.slices) == {"origin=JFK", "origin=LGA"}


def test_nothing_served_is_no_data(tmp_path: Path) -> None:
    """A rollout without a request has no slices."""
    found = count_bad_events(write(tmp_path), replace(LIVE, gate=BY))
    assert isinstance(found, MissingEvidence)
    assert found.outcome is Outcome.NO_DATA


def split(bad: int, good: int, old_bad: int = 20, old_good: int = 980) -> BadEventCounts:
    """Counts of one slice at half each."""
    return BadEventCounts((BadEventStratum(0.5, bad, good, old_bad, old_good),), 0.02, "request", 10_000)


def test_the_slice_that_breaks_is_named_though_the_rest_hides_it() -> None:
    """All together the candidate passes; by slice it fails, on the one that it breaks."""
    found = SlicedCounts(
        {"origin=LGA": split(90, 910), **{f"origin=X{i}": split(20, 9980, 200, 9800) for i in range(4)}}, 9999
    )
    whole = BadEventCounts((BadEventStratum(0.5, 170, 40_830, 820, 40_180),), 0.02, "request", 10_000)
    assert judge(changed(BY, by=()), whole, LEVEL).outcome is Outcome.PASS
    verdict = judge(BY, found, LEVEL)
    assert (verdict.outcome, verdict.culprit) == (Outcome.FAIL, "origin=LGA")
    assert verdict.reason.startswith("on origin=LGA 9 %")
    assert verdict.details[0]["slice"] == "origin=LGA"


def test_every_slice_ever_seen_takes_its_part_of_the_level() -> None:
    """The more slices there are, the more each must show before it fails the gate."""
    alone = SlicedCounts({"origin=LGA": split(52, 948)}, 9999)
    crowd = SlicedCounts(
        {"origin=LGA": split(52, 948), **{f"origin=X{i}": split(0, 1, 0, 1) for i in range(400)}}, 9999
    )
    assert judge(BY, alone, LEVEL).outcome is Outcome.FAIL
    assert judge(BY, crowd, LEVEL).outcome is not Outcome.FAIL


def test_a_small_slice_is_never_a_pass_and_a_protected_one_blocks() -> None:
    """Too little data is said of a slice; a protected one without data keeps the gate from passing."""
    found = SlicedCounts({"origin=LGA": split(0, 5000, 0, 5000), "origin=OO": split(0, 1, 0, 1)}, 9999)
    verdict = judge(BY, found, LEVEL)
    assert verdict.outcome is Outcome.PASS
    assert {row["slice"]: row["outcome"] for row in verdict.details} == {"origin=LGA": "PASS", "origin=OO": "NO_DATA"}
    assert "1 slices have too little data" in verdict.reason
    for missing in ("origin=OO", "origin=never"):
        blocked = judge(changed(BY, protected=(missing,)), found, LEVEL)
        assert blocked.outcome is Outcome.NO_DATA
        assert missing in blocked.reason
    assert judge(changed(BY, min_per_slice=10**6), found, LEVEL).outcome is Outcome.NO_DATA


def test_a_step_still_demands_its_requests() -> None:
    """Slices that would pass wait for the requests that the step demands."""
    found = SlicedCounts({"origin=LGA": split(0, 5000, 0, 5000)}, 10)
    assert judge(BY, found, replace(LEVEL, min_requests=100)).outcome is Outcome.INCONCLUSIVE


def test_slices_come_back_from_the_journal() -> None:
    """What is packed into the journal is judged again to the same verdict."""
    found = SlicedCounts({"origin=LGA": split(90, 910), "origin=JFK": split(20, 980)}, 9999)
    assert decode_evidence(encode_evidence(found)) == found
    assert judge(BY, decode_evidence(encode_evidence(found)), LEVEL) == judge(BY, found, LEVEL)


def test_a_policy_may_slice_what_is_served() -> None:
    """`by`, `min_per_slice` and `protected` are understood by errors, latencies and values; a stranger is refused."""
    sliced = {"by": ["origin"], "min_per_slice": 50, "protected": ["origin=LGA"]}
    errors = {"metric": "error_rate", "margin": "1pp", **sliced}
    gate = gate_of(parse_policy({**POLICY, "gates": {"errors": errors}}), "errors")
    assert (gate.by, gate.min_per_slice, gate.protected) == (("origin",), 50, ("origin=LGA",))
    with pytest.raises(Violation, match="expected a slice such as origin=LGA"):
        parse_policy({**POLICY, "gates": {"errors": {**errors, "protected": ["carrier=MQ"]}}})


def test_a_record_file_without_the_column_says_so(tmp_path: Path) -> None:
    """A slice by a column that the records do not have is refused by name."""
    pd = pytest.importorskip("pandas")
    from surefoot.adapters.predictions.recorded.recorded_requests import RecordedRequests  # noqa: PLC0415 - only this test needs it

    rows = [("a", "champion", "1"), ("a", "candidate", "2")]
    frame = pd.DataFrame(rows, columns=["request", "arm", "version"]).assign(at=1.0, prediction=0.5, origin="LGA")
    frame.to_parquet(tmp_path / "r.parquet")
    records = RecordedRequests(tmp_path / "r.parquet")
    try:
        assert "origin" in records.slice_sql("origin")
        with pytest.raises(Rejected, match="no column 'carrier'"):
            records.slice_sql("carrier")
    finally:
        records.close()


def test_a_missing_value_has_one_name_everywhere() -> None:
    """Nothing and NaN are the same slice in every count."""
    assert {format_slice_name("origin", value) for value in (None, float("nan"))} == {"origin=(missing)"}
    assert format_slice_name("origin", "LGA") == "origin=LGA"
    assert format_slice_name("", None) == ""
