"""A suite sees typed columns, and every expectation of it can fail."""

import json
from pathlib import Path

import pandas as pd
import pytest

from surefoot.adapters.expectations.suite import find_suite_problems, run_suite
from surefoot.adapters.predictions.validation_table import build_validation_table
from surefoot.cli.read_only import lint
from surefoot.core.domain import Outcome
from surefoot.core.judging.data_validation import ValidationResult
from surefoot.core.judging.evidence import MissingEvidence

N = 1000


def expectation(kind: str, severity: str = "critical", **kwargs: object) -> dict[str, object]:
    """One expectation of a suite file."""
    return {"type": f"expect_{kind}", "kwargs": kwargs, "severity": severity}


def written(root: Path, *expectations: dict[str, object]) -> Path:
    """A suite file."""
    path = root / "suite.json"
    text = json.dumps({"name": "suite", "expectations": expectations})
    path.write_text(text.replace("-Infinity", "-1e999").replace("Infinity", "1e999"))
    return path


def held(root: Path, frame: pd.DataFrame, *expectations: dict[str, object]) -> ValidationResult | MissingEvidence:
    """What the suite says of a table."""
    return run_suite(written(root, *expectations), frame, lambda _report: "", root / "page.html")


@pytest.mark.parametrize("kind", ["long", ""], ids=["by signature", "by its values"])
def test_one_missing_number_changes_no_type(tmp_path: Path, kind: str) -> None:
    """999 whole numbers and a missing one are whole numbers to patterns, lengths and types."""
    rows = [{"n": None if i == 7 else i % 10, "b": None if i == 9 else i % 2 == 0} for i in range(N)]
    frame = pd.DataFrame(rows, dtype=object)
    table, _ = build_validation_table(frame, {"n": kind} if kind else {})
    found = held(
        tmp_path,
        table,
        expectation("column_values_to_match_regex", column="n", regex="^[0-9]+$"),
        expectation("column_value_lengths_to_equal", column="n", value=1),
        expectation("column_values_to_be_of_type", column="n", type_="int64"),
        expectation("column_values_to_be_in_set", column="n", value_set=list(range(10))),
        expectation("column_values_to_be_in_set", column="b", value_set=[True, False]),
    )
    assert isinstance(found, ValidationResult)
    assert (found.failed, found.evaluated) == ((), 5)


def test_numbers_that_are_not_whole_are_not_cut() -> None:
    """A fraction among whole numbers, which the model's input refuses, is left out and counted, never cut."""
    table, left = build_validation_table(pd.DataFrame({"n": [1.0, 2.5, None]}), {"n": "long"})
    assert left.odd == 1
    assert list(table["n"].dropna()) == [1]


@pytest.mark.parametrize(
    ("latest", "good"), [("2026-01-02", True), ("1 Jan 2099", False), ("2026-03-01T00:00:00Z", False)]
)
@pytest.mark.parametrize("kind", ["column_max_to_be_between", "column_values_to_be_between"])
def test_dates_are_compared_as_dates(tmp_path: Path, kind: str, latest: str, *, good: bool) -> None:
    """A date of the signature is one, however it is written: 1 Jan 2099 is later than the end of February."""
    table, _ = build_validation_table(pd.DataFrame({"when": ["2026-01-01", latest]}), {"when": "datetime"})
    found = held(tmp_path, table, expectation(kind, column="when", max_value="2026-02-28"))
    assert isinstance(found, ValidationResult)
    assert (found.failed == ()) is good


IDLE = [
    expectation("column_values_to_be_between", column="x", min_value=0, mostly=0),
    expectation("column_values_to_not_be_in_set", column="x", value_set=[]),
    expectation("column_values_to_not_match_regex_list", column="x", regex_list=[]),
    expectation("table_row_count_to_be_between", min_value=0),
    expectation("column_unique_value_count_to_be_between", column="x", min_value=0, max_value=None),
    expectation("column_proportion_of_unique_values_to_be_between", column="x", min_value=0, max_value=1),
    expectation("column_values_to_be_betwen", column="x", min_value=0),
    expectation("column_values_to_be_between", column="x", min_valu=0),
    expectation("column_values_to_be_between", column="x"),
    expectation("column_values_to_be_between", column="x", min_value=0, row_condition="x >", condition_parser="pandas"),
    expectation(
        "column_values_to_be_between", column="x", min_value=0, row_condition="x > 1", condition_parser="panda"
    ),
    expectation("column_values_to_be_between", "warning", column="x", min_value=0),
    expectation("column_values_to_be_between", column="x", min_value=float("-inf"), max_value=float("inf")),
    expectation("column_values_to_be_between", column="x", min_value=-1.7e308, max_value=1.7e308),
    expectation("column_values_to_be_between", column="x", min_value=0, mostly=1e-9),
    expectation("column_median_to_be_between", column="x", min_value=None, max_value=None),
    expectation(
        "column_quantile_values_to_be_between",
        column="x",
        quantile_ranges={"quantiles": [0.5], "value_ranges": [[None, None]]},
    ),
    expectation(
        "column_quantile_values_to_be_between", column="x", quantile_ranges={"quantiles": [], "value_ranges": []}
    ),
    expectation("column_stdev_to_be_between", column="x", min_value=0),
    expectation("column_distinct_values_to_contain_set", column="x", value_set=[]),
    expectation("table_columns_to_match_set", column_set=[], exact_match=False),
    expectation("column_values_to_match_regex", column="x", regex=""),
    expectation("column_values_to_match_regex", column="x", regex=".*"),
    expectation("column_values_to_match_regex_list", column="x", regex_list=["[a-z]+", ".*"]),
    expectation("column_pair_values_to_be_equal", column_A="x", column_B="x"),
    expectation("column_pair_values_a_to_be_greater_than_b", column_A="x", column_B="x", or_equal=True),
    expectation("column_value_z_scores_to_be_less_than", column="x", threshold=1e9, double_sided=True),
    expectation("column_values_to_be_between", column="x", min_value=5, max_value=1),
    expectation("column_mean_to_be_between", column="x", min_value=5, max_value=5, strict_min=True),
]


@pytest.mark.parametrize("idle", IDLE, ids=str)
def test_what_cannot_fail_is_refused_by_lint_and_at_run(tmp_path: Path, idle: dict[str, object]) -> None:
    """An expectation that holds whatever comes, or that is misspelt, is an error before and in a rollout."""
    assert find_suite_problems(written(tmp_path, idle))[1] != ()
    found = held(tmp_path, pd.DataFrame({"x": [1.0, 2.0]}), idle)
    assert isinstance(found, MissingEvidence)
    assert found.outcome is Outcome.ERROR


def test_what_can_fail_is_let_pass(tmp_path: Path) -> None:
    """What some table breaks is a check, of whatever kind it is."""
    good = [
        expectation("table_row_count_to_be_between", min_value=1),
        expectation("column_unique_value_count_to_be_between", column="x", max_value=9),
        expectation(
            "column_values_to_be_between", column="x", min_value=2, row_condition="x > 1", condition_parser="pandas"
        ),
        expectation(
            "column_values_to_be_between",
            column="x",
            min_value=2,
            row_condition='col("y") > 1',
            condition_parser="great_expectations",
        ),
        expectation("column_values_to_be_between", column="x", min_value=0, strict_min=True),
        expectation("column_values_to_be_between", column="x", min_value=-1e9, max_value=1e9, mostly=0.05),
        expectation("column_values_to_not_be_null", column="x", mostly=0.02),
        expectation("column_values_to_be_null", column="x", mostly=0.5),
        expectation("column_values_to_be_unique", column="x"),
        expectation("column_values_to_be_in_set", column="x", value_set=[1, 2]),
        expectation("column_values_to_not_be_in_set", column="x", value_set=["nope"]),
        expectation("column_values_to_match_regex", column="x", regex=".+"),
        expectation("column_values_to_match_regex", column="x", regex="^[A-Z]{2}$", mostly=0.9),
        expectation("column_values_to_not_match_regex", column="x", regex="DROP TABLE"),
        expectation("column_values_to_match_strftime_format", column="x", strftime_format="%Y-%m-%d"),
        expectation("column_values_to_be_of_type", column="x", type_="float64"),
        expectation("column_values_to_be_dateutil_parseable", column="x"),
        expectation("column_value_lengths_to_be_between", column="x", max_value=5000),
        expectation("column_value_lengths_to_equal", column="x", value=3),
        expectation("column_max_to_be_between", column="x", max_value="2099-01-01"),
        expectation("column_min_to_be_between", column="x", min_value="1990-01-01"),
        expectation("column_mean_to_be_between", column="x", min_value=-1e9, max_value=1e9),
        expectation("column_median_to_be_between", column="x", min_value=0),
        expectation("column_stdev_to_be_between", column="x", min_value=0.001),
        expectation("column_sum_to_be_between", column="x", max_value=1e15),
        expectation(
            "column_quantile_values_to_be_between",
            column="x",
            quantile_ranges={"quantiles": [0.1, 0.9], "value_ranges": [[0, None], [None, 1e6]]},
        ),
        expectation("column_most_common_value_to_be_in_set", column="x", value_set=[1]),
        expectation("column_distinct_values_to_be_in_set", column="x", value_set=[1, 2]),
        expectation("column_distinct_values_to_contain_set", column="x", value_set=[1]),
        expectation("column_proportion_of_unique_values_to_be_between", column="x", min_value=0.1),
        expectation("column_value_z_scores_to_be_less_than", column="x", threshold=6, double_sided=True),
        expectation("column_pair_values_to_be_equal", column_A="x", column_B="y"),
        expectation("column_pair_values_a_to_be_greater_than_b", column_A="x", column_B="y", or_equal=True),
        expectation("column_pair_values_a_to_be_greater_than_b", column_A="y", column_B="x", or_equal=True),
        expectation("compound_columns_to_be_unique", column_list=["x", "y"]),
        expectation("select_column_values_to_be_unique_within_record", column_list=["x", "y"]),
        expectation("multicolumn_sum_to_equal", column_list=["x", "y"], sum_total=1),
        expectation("column_to_exist", column="x"),
        expectation("table_columns_to_match_set", column_set=["x", "y"]),
        expectation("table_columns_to_match_set", column_set=["x"], exact_match=False),
        expectation("table_columns_to_match_ordered_list", column_list=["x", "y"]),
        expectation("table_column_count_to_equal", value=2),
    ]
    assert find_suite_problems(written(tmp_path, *good)) == (len(good), ())


@pytest.mark.parametrize(
    "blind",
    [
        expectation("column_unique_value_count_to_be_between", column="x", max_value=9),
        expectation("table_row_count_to_be_between", max_value=9),
        expectation("column_values_to_be_between", column="x", min_value=0),
    ],
    ids=str,
)
def test_a_condition_that_no_row_meets_is_an_error(tmp_path: Path, blind: dict[str, object]) -> None:
    """An expectation that looks at no row has not held."""
    blind["kwargs"] = {**dict(blind["kwargs"]), "row_condition": "x > 100", "condition_parser": "pandas"}  # type: ignore[call-overload]
    found = held(tmp_path, pd.DataFrame({"x": [1.0, 2.0]}), blind)
    assert isinstance(found, MissingEvidence)
    assert found.outcome is Outcome.ERROR


def test_lint_names_the_expectation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`surefoot lint` refuses a suite with a misspelt expectation, and names it."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "expectations").mkdir()
    policy = Path(__file__).parents[2] / "configs" / "flights-late.yaml"
    (tmp_path / "configs" / policy.name).write_text(policy.read_text())
    suite = {"name": "flights-late", "expectations": [IDLE[6]]}
    (tmp_path / "expectations" / "flights-late.json").write_text(json.dumps(suite))
    assert lint(None, tmp_path, strict=False, json_=False) == 2
    assert "expect_column_values_to_be_betwen" in capsys.readouterr().out.replace("\n", "")
