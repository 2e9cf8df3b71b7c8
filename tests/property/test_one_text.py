"""One value has one text: live counts, the shadow and the back-test name the same slices and the same units."""

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.predictions.recorded.recorded_requests import RecordedRequests
from surefoot.core.canonical_text import (
    MISSING_SLICE_NAME,
    canonical_slice_name,
    canonical_text,
    canonical_text_of_json,
    format_slice_name,
)
from surefoot.core.domain import Split, Version
from surefoot.gateway.inference.request_assignment import new_request

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(10**6), 10**6).map(float),
    TEXTS,
    st.sampled_from(["7", "7.0", "True", "true", "007", "1.10", "1e3", "", " ", "ü", "None", "1e+16", "-0.0"]),
)
SPLIT = Split(Version("1", "sha256:1"), Version("2", "sha256:2"), 50.0, "salt")


def live_names(values: list[Any], folder: Path) -> list[str]:
    """Slices that SQL over a prediction log tells apart, in the order of the requests."""
    (folder / "m").mkdir()
    lines = [
        orjson.dumps({"v": 1, "request": f"q{i:03}", "row": 0, "at": 1.0, "features": {"c": value}})
        for i, value in enumerate(values)
    ]
    (folder / "m" / "predictions-1-1.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    log = PredictionLog(folder)
    found = log.query_rows("m", f"SELECT {log.slice_sql('c')} FROM log ORDER BY request")  # noqa: S608 - a name of ours
    return [format_slice_name("c", text) for (text,) in found]


def shadow_names(values: list[Any], folder: Path) -> list[str]:
    """Slices that the shadow tells apart: by the values of the log, read in Python."""
    found = PredictionLog(folder).read_requests("m", 0.0, 2.0)
    return [format_slice_name("c", row.features["c"]) for row in sorted(found, key=lambda row: row.key)]


@settings(max_examples=60, deadline=None)
@given(st.lists(SCALARS, min_size=1, max_size=8))
@example([7, 7.0, "7", "7.0", True, "True", 1e3, -0.0, 2**63, None, "", "\x00", "ü"])
def test_live_and_shadow_name_the_same_slices(values: list[Any]) -> None:
    """Live counts and the shadow name the same slices for any JSON scalar, and the same ones as the law itself."""
    with tempfile.TemporaryDirectory() as home:
        wanted = [format_slice_name("c", value) for value in values]
        assert live_names(values, Path(home)) == wanted
        assert shadow_names(values, Path(home)) == wanted


@settings(max_examples=30, deadline=None)
@given(
    st.one_of(
        st.lists(st.one_of(st.none(), st.booleans()), min_size=2, max_size=6),
        st.lists(st.one_of(st.none(), st.integers(-(2**53), 2**53)), min_size=2, max_size=6),
        st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), min_size=2, max_size=6),
        st.lists(st.one_of(st.none(), TEXTS), min_size=2, max_size=6),
    )
)
@example([7, None])
@example([True, None])
def test_the_back_test_names_the_slices_that_live_counts_name(values: list[Any]) -> None:
    """A Parquet file, which has one type a column and may hold 7 as 7.0, gives the slices and units of the JSON."""
    with tempfile.TemporaryDirectory() as home:
        rows = [
            {
                "request": f"q{i}",
                "at": 1.0,
                "arm": arm,
                "version": version,
                "prediction": 0.5,
                "unit": value,
                "c": value,
            }
            for i, value in enumerate(values)
            for arm, version in (("champion", 1), ("candidate", 2))
        ]
        path = Path(home) / "records.parquet"
        pd.DataFrame(rows).to_parquet(path, index=False)
        records = RecordedRequests(path)
        try:
            records.shift(0.0, SPLIT)
            wanted = [format_slice_name("c", value) for value in values]
            sql = f"SELECT {records.slice_sql('c')}, unit FROM log ORDER BY request"  # noqa: S608 - a name of ours
            found = records.query_rows("m", sql)
            assert [format_slice_name("c", text) for text, _ in found] == wanted
            assert [unit for _, unit in found] == [canonical_text(value) for value in values]
            (chunk,) = records.read_answer_pairs(0.0, 2.0, 0.0, ("c",))
            assert [format_slice_name("c", text) for text in chunk["c"]] == wanted
        finally:
            records.close()


@given(SCALARS)
def test_a_canonical_text_is_its_own(value: Any) -> None:
    """Spelling a value twice changes nothing, from JSON or from Python, nor does reading the name of its slice."""
    text = canonical_text(value)
    assert canonical_text(text) == text
    assert canonical_text_of_json(json.dumps(value)) == text
    assert canonical_slice_name(format_slice_name("c", value)) == format_slice_name("c", value)


@given(st.integers(-(2**53), 2**53))
def test_equal_numbers_have_one_text(number: int) -> None:
    """A whole number, the same number as a float, and both as a program writes them are one value."""
    assert len({canonical_text(one) for one in (number, float(number), str(number), repr(float(number)))}) == 1


@given(TEXTS.filter(lambda text: text.strip() and not text[-1].isdigit() and text not in {"True", "False"}))
def test_a_text_is_itself(text: str) -> None:
    """Words, codes and other letters stay as they came, in every script."""
    assert canonical_text(text) == text


@pytest.mark.parametrize("value", [None, "", "  ", math.nan])
def test_what_says_nothing_is_no_value(value: object) -> None:
    """A missing, empty or blank value is the slice of the missing ones, and no unit: the request's own id decides."""
    assert canonical_text(value) is None
    assert format_slice_name("c", value) == f"c={MISSING_SLICE_NAME}"
    job = new_request(SPLIT, model="m", request="r", names=("u",), values=[[value]], column="u", at=1.0, started=0.0)
    assert job.unit is None


def test_anonymous_requests_are_split_one_by_one() -> None:
    """A thousand requests without a unit are split like a thousand units, not sent to one arm together."""
    jobs = [
        new_request(SPLIT, model="m", request=f"r{i}", names=("u",), values=[[""]], column="u", at=1.0, started=0.0)
        for i in range(1000)
    ]
    assert 400 < sum(job.arm == "candidate" for job in jobs) < 600


def test_one_customer_is_in_one_arm_however_it_is_spelled() -> None:
    """A customer 7 is in the same arm as 7, as 7.0 and as "7"."""
    for number in range(50):
        jobs = [
            new_request(SPLIT, model="m", request="r", names=("u",), values=[[value]], column="u", at=1.0, started=0.0)
            for value in (number, float(number), str(number))
        ]
        assert len({(job.unit, job.arm) for job in jobs}) == 1
