"""Labels say when they became known: in seconds, not in the future, and the later of two reports counts."""

import json
from dataclasses import replace
from pathlib import Path

import orjson
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.adapters.evidence.live_counts.bounded_value_counts import count_bounded_values
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.predictions.recorded.recorded_requests import RecordedRequests
from surefoot.core.judging.evidence import ValueCounts
from surefoot.core.policy.policy_types import Metric
from surefoot.gateway.log.label_validation import MAX_LABEL_AGE_S, MAX_LABEL_AHEAD_S
from surefoot.gateway.log.prediction_log_writer import label_lines
from tests.gates import make_gate
from tests.unit.test_counts import LIVE, before
from tests.unit.test_counts import record as served
from tests.unit.test_replay import record, write

NOW = 1_795_580_949.0


def lines(*items: dict[str, object], now: float = NOW) -> list[dict[str, object]]:
    """What is written of a report."""
    return [orjson.loads(line) for line in label_lines(json.dumps(items).encode(), now)]


def test_milliseconds_are_named() -> None:
    """A time in milliseconds is refused with the unit that is wanted."""
    with pytest.raises(ValueError, match=r"label 0 .* looks like milliseconds: give Unix seconds"):
        lines({"request": "a", "label": 1, "at": NOW * 1000.0})


@pytest.mark.parametrize(
    ("scale", "unit"), [(1 / 60, "minutes"), (1 / 3600, "hours"), (1 / 86400, "days"), (1e6, "micro"), (1e9, "nano")]
)
def test_every_other_unit_is_named(scale: float, unit: str) -> None:
    """A time in minutes, hours, days, microseconds or nanoseconds is refused with the unit that it looks like."""
    with pytest.raises(ValueError, match=f"looks like {unit}"):
        lines({"request": "a", "label": 1, "at": int(NOW * scale)})


@given(at=st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_a_time_that_is_taken_is_near(at: float) -> None:
    """A label's time is taken as it is where it lies in the last ten years, and else refused in one line."""
    if NOW - MAX_LABEL_AGE_S <= at <= NOW + MAX_LABEL_AHEAD_S:
        assert lines({"request": "a", "label": 1, "at": at})[0]["at"] == at
    else:
        with pytest.raises(ValueError, match=r"^(label 0 has an `at` that|label 0 .* looks like|the body)[^\n]*$"):
            lines({"request": "a", "label": 1, "at": at})


NOTHING: st.SearchStrategy[object] = st.sampled_from(
    ["", "  ", "\t\n", "NaN", "nan", "NAN", " NaN ", "NaT", "<NA>", "inf", "-inf", [], {}, [[]], None]
)


@given(label=NOTHING | NOTHING.map(lambda x: [1, x]) | NOTHING.map(lambda x: {"a": x}))
def test_a_label_that_says_nothing_is_refused(label: object) -> None:
    """A blank, an empty list or object, and a text for a missing value are no labels, alone or inside."""
    with pytest.raises(ValueError, match=r"label 1 (says nothing|has no label)"):
        lines({"request": "a", "label": 1}, {"request": "a", "label": label})


@pytest.mark.parametrize("label", [0, False, "None", "null", "no", [0], {"a": None, "b": 0}, "0"])
def test_a_label_that_says_something_is_taken(label: object) -> None:
    """Zero, false, and words that may be names of classes are labels; an object may miss some of its fields."""
    assert lines({"request": "a", "label": label})[0]["label"] == label


@pytest.mark.parametrize("request_", ["ta 1", " ", "a\n", "\u00e9", "x" * 129, True, [], 1.0e400, ""])
def test_an_id_that_no_request_can_have_is_refused(request_: object) -> None:
    """Labels of a request that cannot exist would match nothing, for ever: they are refused."""
    with pytest.raises(ValueError, match=r"(label 1 (names a request that cannot|does not name)|not JSON)"):
        lines({"request": "a", "label": 1}, {"request": request_, "label": 1})


def test_the_future_is_refused_but_for_a_clock_that_is_a_little_ahead() -> None:
    """A label that became known tomorrow is refused; a clock may be some minutes ahead."""
    assert lines({"request": "a", "label": 1, "at": NOW + MAX_LABEL_AHEAD_S})
    with pytest.raises(ValueError, match=r"label 1 .* 86,400 s in the future"):
        lines({"request": "a", "label": 1}, {"request": "b", "label": 1, "at": NOW + 86400.0})


def test_a_number_names_a_request_as_its_text_does() -> None:
    """The labels of request "7" may say 7 or 7.0."""
    reports: list[dict[str, object]] = [{"request": name, "label": 1} for name in (7, 7.0, "7")]
    assert {item["request"] for item in lines(*reports)} == {"7"}


def test_of_two_reports_of_one_time_the_later_counts(tmp_path: Path) -> None:
    """Of two labels with the same time the one that was reported later counts, for the shadow and for values."""
    write(tmp_path, "predictions", [record(0, 1000.0)])
    told = lines({"request": "q0", "label": 9, "at": 1500.0}, {"request": "q0", "label": 1, "at": 1500.0}, now=2000.0)
    write(tmp_path, "labels", told)
    (row,) = PredictionLog(tmp_path).read_requests("m", 0.0, 2000.0)
    assert row.label(1000.0) == 1
    gate = make_gate("money", Metric.VALUE, cap=10.0, column="label", maturity=600.0)
    write(tmp_path, "predictions", [served("q0", at=1100.0, arm="candidate"), served("q1", at=1100.0), before("b")])
    counts = count_bounded_values(PredictionLog(tmp_path), replace(LIVE, gate=gate))
    assert isinstance(counts, ValueCounts)
    assert sum(level * n for level, n in enumerate(counts.strata[0].candidate)) in {6, 7}


def test_in_a_file_the_later_line_counts(tmp_path: Path) -> None:
    """Of two labels with one time in a back-test's file the later line counts, though its label is the smaller one."""
    sides = [("champion", "1"), ("candidate", "2")]
    rows = [{"request": "a", "at": 1.0, "arm": arm, "version": v, "prediction": 0.5} for arm, v in sides]
    pd.DataFrame(rows).to_parquet(tmp_path / "r.parquet", index=False)
    told = [{"request": "a", "row": 0, "label": label, "at": 5.0} for label in (9.0, 1.0)]
    pd.DataFrame(told).to_parquet(tmp_path / "l.parquet", index=False)
    records = RecordedRequests(tmp_path / "r.parquet", tmp_path / "l.parquet")
    try:
        (chunk,) = records.read_answer_pairs(0.0, 10.0, 0.0, ())
        assert list(chunk["label"]) == [1.0]
    finally:
        records.close()
