"""Expectation suites on real data with real Great Expectations."""

import json
import logging
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from surefoot.adapters.expectations.suite import run_suite
from surefoot.core.domain import Outcome
from surefoot.core.journal.chain import canonical_bytes
from surefoot.core.judging.data_validation import ValidationResult
from surefoot.core.judging.evidence import MissingEvidence
from surefoot.reports.validation_page import render_validation_page


def expect(kind: str, severity: str | None = None, **kwargs: object) -> dict[str, object]:
    """One expectation as it stands in a suite file."""
    return {"type": f"expect_{kind}", "kwargs": kwargs, **({"severity": severity} if severity else {})}


AGE = expect("column_values_to_be_between", column="age", min_value=0, max_value=120)


def people(rows: int = 900) -> pd.DataFrame:
    """Good data: ages, ports and times, under an index that does not count."""
    frame = pd.DataFrame(
        {"age": [float(20 + n % 60) for n in range(rows)], "port": ["LGA", "JFK", "EWR"] * (rows // 3)}
    )
    frame["at"] = pd.Timestamp("2013-06-23") + pd.to_timedelta(np.arange(rows), "min")
    frame.index = pd.Index([7] * rows)
    return frame


def old() -> pd.DataFrame:
    """People who are all too old."""
    return people().assign(age=200.0)


class Bench:
    """A suite file and a place for the report."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.suite = folder / "suites" / "flights.json"
        self.report = folder / "reports" / "page.html"
        self.suite.parent.mkdir()

    def write(self, text: str) -> None:
        """Put a suite file in place."""
        self.suite.write_text(text, "utf-8")

    def check(self, frame: pd.DataFrame, *expectations: Mapping[str, object]) -> ValidationResult | MissingEvidence:
        """Validate against these expectations."""
        self.write(json.dumps({"name": "flights", "expectations": expectations}))
        return run_suite(self.suite, frame, render_validation_page, self.report, checked_at="23 June 2013, 08:00 UTC")

    def error(self, frame: pd.DataFrame, *expectations: Mapping[str, object]) -> str:
        """The sentence of a validation that gave no answer."""
        return self.reason(self.check(frame, *expectations))

    def reason(self, answer: ValidationResult | MissingEvidence) -> str:
        """The sentence of an answer that is an error, for which no page was written."""
        assert isinstance(answer, MissingEvidence)
        assert answer.outcome is Outcome.ERROR
        assert not self.report.exists()
        return answer.reason


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A fresh bench."""
    return Bench(tmp_path)


def answered(answer: ValidationResult | MissingEvidence) -> ValidationResult:
    """An answer that is one."""
    assert isinstance(answer, ValidationResult), answer
    return answer


def test_good_data_holds(bench: Bench) -> None:
    """A suite that holds has evaluated every expectation, failed none, and written its page."""
    rows = expect("table_row_count_to_be_between", min_value=100)
    found = answered(bench.check(people(), AGE, rows, AGE))
    assert (found.suite, found.rows, found.evaluated, found.failed, found.warnings) == ("flights", 900, 3, (), ())
    assert found.report == str(bench.report)
    assert "all 3 expectations hold" in bench.report.read_text("utf-8")


def test_a_failure_says_how_many_values_are_out_of_what(bench: Bench) -> None:
    """A broken expectation names type, column, counts, share and range, and shows the first five rows."""
    frame = people()
    frame["age"] = frame["age"].mask(np.arange(900) % 25 == 3, 999.0)
    found = answered(bench.check(frame, AGE))
    (failure,) = found.failed
    assert (failure.kind, failure.column) == ("expect_column_values_to_be_between", "age")
    assert failure.reason == "36 of 900 values (4.0 %) are outside [0, 120]"
    assert failure.samples == tuple({"row": row, "age": 999.0} for row in (3, 28, 53, 78, 103))


@pytest.mark.parametrize(
    ("expectation", "reason"),
    [
        (
            expect("column_values_to_not_be_null", column="age", mostly=0.99),
            "30 of 900 values (3.3 %) are missing; 1.0 % is accepted",
        ),
        (
            expect("column_values_to_be_in_set", column="port", value_set=["LGA", "JFK"]),
            "300 of 900 values (33.3 %) are not one of [LGA, JFK]",
        ),
        (
            expect("column_values_to_match_regex", column="port", regex="^[JL]"),
            "300 of 900 values (33.3 %) do not match ^[JL]",
        ),
        (
            expect("column_values_to_be_between", column="age", min_value=25, strict_min=True),
            "84 of 870 values (9.7 %) are not above 25",
        ),
        (expect("column_values_to_be_unique", column="port"), "900 of 900 values (100.0 %) occur more than once"),
        (expect("column_to_exist", column="weight"), "the table has no column weight"),
        (expect("column_values_to_be_of_type", column="port", type_="int64"), "found str; demanded: type int64"),
        (expect("table_row_count_to_be_between", min_value=1000), "found 900; demanded: at least 1,000"),
        (expect("column_mean_to_be_between", column="age", max_value=30), "found 50.0172; demanded: at most 30"),
        (
            expect("table_columns_to_match_set", column_set=["age", "port", "dest"]),
            "found unexpected columns [at]; missing columns [dest]; demanded: column set [age, port, dest]",
        ),
        (
            expect("column_distinct_values_to_be_in_set", column="port", value_set=["LGA", "JFK"]),
            "found unexpected [EWR]; demanded: one of [LGA, JFK]",
        ),
        (
            expect("compound_columns_to_be_unique", column_list=["port", "age"]),
            "900 of 900 rows (100.0 %) occur more than once",
        ),
    ],
)
def test_reasons_are_sentences_built_from_the_counts(
    bench: Bench, expectation: Mapping[str, object], reason: str
) -> None:
    """Every kind of expectation says what was found against what was demanded."""
    frame = people()
    frame["age"] = frame["age"].mask(np.arange(900) < 30)
    (failure,) = answered(bench.check(frame, expectation)).failed
    assert failure.reason == reason
    assert len(failure.samples) <= 5


def test_only_critical_failures_block(bench: Bench) -> None:
    """Severities warning and info go to the warnings, critical and none at all to the failures."""
    kinds = [{**AGE, "severity": severity} for severity in ("critical", "warning", "info")]
    found = answered(bench.check(old(), AGE, *kinds))
    assert len(found.failed) == 2
    assert len(found.warnings) == 2
    assert found.evaluated == 4


def test_samples_can_be_journalled(bench: Bench) -> None:
    """Timestamps, NaN, infinities, huge integers, long text and mixed columns come out as JSON that hashes."""
    frame = pd.DataFrame(
        {
            "number": [np.nan, np.inf, -np.inf, 1e300, -1.0],
            "when": pd.Series(
                ["2013-06-23T08:00Z", None, "2013-06-24T09:00Z", None, None], dtype="datetime64[ns, UTC]"
            ),
            "big": [2**62, -(2**62), 2**53, 1, 0],
            "text": ["é", "x" * 500, "ok", "", "<b>"],
            "thing": ["a", True, None, 3, 4.5],
        }
    )
    columns = [expect("column_values_to_be_null", column=name) for name in frame.columns]
    columns += [expect("column_values_to_not_be_null", column=name) for name in ("number", "when")]
    found = answered(bench.check(frame, *columns))
    assert len(found.failed) == 7
    for failure in found.failed:
        assert canonical_bytes([dict(sample) for sample in failure.samples if isinstance(sample, dict)])
    assert bench.report.read_text("utf-8")


def test_text_that_is_no_text_can_be_journalled(bench: Bench) -> None:
    """A lone surrogate, which no UTF-8 can hold, reaches neither the reason nor the page as it is."""
    frame = pd.DataFrame({"text": pd.Series(["\ud800", "b"], dtype=object)})
    assert canonical_bytes(bench.error(frame, expect("column_values_to_be_null", column="text")))
    found = answered(bench.check(people(), expect("column_to_exist", column="\ud800")))
    assert canonical_bytes([found.failed[0].column, found.failed[0].reason])
    assert bench.report.read_text("utf-8")


def test_a_missing_suite_is_an_error(bench: Bench) -> None:
    """A suite file that is not there is named, and nothing passes."""
    assert "flights.json does not exist" in bench.reason(
        run_suite(bench.suite, people(), render_validation_page, bench.report)
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not valid JSON"),
        ('{"expectations": [], "expectations": []}', "'expectations' is written twice"),
        ('{"expectations": [{"type": "x", "kwargs": {"min_value": NaN}}]}', "NaN is not a number"),
        ("[]", "has no list of 'expectations'"),
        ('{"expectations": ["x"]}', "has no list of 'expectations'"),
        ('{"name": "flights", "expectations": []}', "is empty"),
        ('{"expectations": [{"kwargs": {}}]}', "expectation 1 of the suite has no type"),
    ],
)
def test_a_broken_suite_is_an_error(bench: Bench, text: str, said: str) -> None:
    """A suite that cannot be read, or that would accept anything, is an error that says why."""
    bench.write(text)
    assert said in bench.reason(run_suite(bench.suite, people(), render_validation_page, bench.report))


def test_an_unknown_expectation_is_an_error(bench: Bench) -> None:
    """An expectation that Great Expectations would skip in silence is named, even beside one that holds."""
    said = bench.error(people(), AGE, expect("column_values_to_be_nice", column="age"))
    assert said.startswith("expect_column_values_to_be_nice on column age is unknown to Great Expectations")


@pytest.mark.parametrize(
    ("expectation", "said"),
    [
        (expect("column_values_to_be_between", column="age", min_val=3), "is not a valid expectation: "),
        (expect("column_values_to_be_between", column="age", min_value={"$PARAMETER": "lo"}), "lo"),
        ({**AGE, "severity": "fatal"}, "Invalid severity 'fatal'"),
        ({**AGE, "kwarg": {}}, "unexpected keyword argument 'kwarg'"),
    ],
)
def test_an_invalid_expectation_is_an_error(bench: Bench, expectation: Mapping[str, object], said: str) -> None:
    """A misspelt argument, an unknown severity and a parameter without a value never go unnoticed."""
    assert said in bench.error(people(), AGE, expectation)


@pytest.mark.parametrize(
    ("expectation", "said"),
    [
        (expect("column_values_to_be_between", column="weight", min_value=0), "weight"),
        (expect("column_mean_to_be_between", column="port", min_value=0), "mean"),
        (expect("column_values_to_be_between", "warning", column="port", min_value=0), "same type"),
        (
            {"type": "unexpected_rows_expectation", "kwargs": {"unexpected_rows_query": "select 1 from {batch}"}},
            "PandasExecutionEngine",
        ),
    ],
)
def test_an_expectation_that_raises_is_an_error(bench: Bench, expectation: Mapping[str, object], said: str) -> None:
    """Both shapes in which Great Expectations reports an exception are an error that names the expectation."""
    reason = bench.error(people(), AGE, expectation)
    assert reason.startswith(str(expectation["type"]))
    assert "could not be evaluated" in reason
    assert said in reason


@pytest.mark.parametrize("frame", [pd.DataFrame(), people().head(0)])
def test_an_empty_table_is_an_error(bench: Bench, frame: pd.DataFrame) -> None:
    """A table without rows satisfies every expectation of Great Expectations and none of ours."""
    assert "empty table" in bench.error(frame, AGE)


def test_a_column_without_values_has_not_passed(bench: Bench) -> None:
    """An expectation that saw no value is an error when it blocks and a warning when it does not."""
    frame = people().assign(age=np.nan)
    assert "had no value to look at" in bench.error(frame, AGE)
    exists = {"type": "expect_column_to_exist", "kwargs": {"column": "age"}}
    found = answered(bench.check(frame, {**AGE, "severity": "warning"}, exists))
    assert [row.reason for row in found.warnings] == ["there is no value to look at"]


def test_nothing_is_written_but_the_report(
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Validating leaves one file, prints nothing, logs nothing and does not change the table."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("TMPDIR", str(work))
    frame = old()
    before = frame.copy(deep=True)
    with caplog.at_level(logging.INFO):
        bench.check(frame, AGE, expect("column_to_exist", column="weight"))
    assert list(work.iterdir()) == []
    assert [path.name for path in bench.report.parent.iterdir()] == ["page.html"]
    assert capfd.readouterr() == ("", "")
    assert [record.getMessage() for record in caplog.records] == []
    pd.testing.assert_frame_equal(frame, before)


def test_a_report_that_cannot_be_written_does_not_hide_the_answer(bench: Bench) -> None:
    """When the disk refuses the page, the validation still says what failed and names no report."""
    bench.report.parent.write_text("a file where the folder should be", "utf-8")
    found = answered(bench.check(old(), AGE))
    assert (len(found.failed), found.report) == (1, "")


class Links(HTMLParser):
    """Collects the tags and the addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember a tag and where it points to."""
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "action", "data"}]


def test_the_report_is_one_file_that_needs_no_network(bench: Bench) -> None:
    """The page has its verdict first, every expectation, escaped samples, no script and no address."""
    frame = people()
    frame.loc[:, "port"] = ['<script>alert("x")</script>'] * 900
    bench.check(
        frame,
        AGE,
        expect("column_values_to_be_in_set", column="port", value_set=["LGA"]),
        expect("column_value_lengths_to_equal", "warning", column="port", value=3),
    )
    page = bench.report.read_text("utf-8")
    assert "Refused: 1 of 3 expectations does not hold" in page
    assert page.index("<h1>") < page.index("900 of 900 values (100.0 %) are not one of [LGA]")
    assert page.index("column_values_to_be_in_set") < page.index("column_value_lengths_to_equal")
    assert "column values to be between" in page
    assert "23 June 2013, 08:00 UTC" in page
    links = Links()
    links.feed(page)
    assert "script" not in links.tags
    assert links.addresses == []
    assert not re.search(r"(https?:)?//|url\(|@import", page)
