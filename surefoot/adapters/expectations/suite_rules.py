"""Find expectations of a suite that can never fail or whose row condition is wrong, and convert their dates."""

import ast
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_COUNTS = re.compile(r"row_count|unique_value_count|value_lengths|column_count|proportion_of")
"""Expectations about numbers that are never negative."""
_SHARES = re.compile(r"proportion_of")
"""Expectations about numbers that are never above one."""
_MIN_MOSTLY_SHARE = 0.01
"""Smallest share of the values that an expectation may demand: with less it looks at nothing."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def expectation_never_fails_reason(item: Mapping[str, Any]) -> str:
    """Why an expectation can never fail; empty when it can."""
    kind, kwargs = str(item.get("type")), item.get("kwargs") or {}
    mostly = kwargs.get("mostly")
    if isinstance(mostly, int | float) and mostly < _MIN_MOSTLY_SHARE:
        return f"with 'mostly: {mostly:g}' it holds whatever comes: give {_MIN_MOSTLY_SHARE:g} or more"
    if kind.endswith("not_be_in_set") and not kwargs.get("value_set"):
        return "its 'value_set' is empty: it holds whatever comes"
    if "not_match" in kind and "regex_list" in kwargs and not kwargs["regex_list"]:
        return "its 'regex_list' is empty: it holds whatever comes"
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    if problem := _empty_range(low, high, kwargs):
        return problem
    floor = _COUNTS.search(kind) and (low is None or (_number(low) <= 0 and not kwargs.get("strict_min")))
    roof = high is None or (_SHARES.search(kind) and _number(high) >= 1 and not kwargs.get("strict_max"))
    if floor and roof and ("min_value" in kwargs or "max_value" in kwargs):
        return "its bounds hold for every table"
    return ""


def _empty_range(low: object, high: object, kwargs: Mapping[str, Any]) -> str:
    """Why no value lies between two bounds; empty where one does."""
    both = isinstance(low, int | float) and isinstance(high, int | float)
    if not (both or (isinstance(low, str) and isinstance(high, str))):
        return ""
    strict = kwargs.get("strict_min") or kwargs.get("strict_max")
    if low > high or (low == high and strict):  # type: ignore[operator]
        return f"no value is between {low} and {high}: it cannot hold"
    return ""


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.5


def suite_never_fails_reason(declared: Sequence[Mapping[str, Any]]) -> str:
    """Why no table can fail a suite; empty when one can."""
    if all(str(item.get("severity") or "critical") != "critical" for item in declared):
        return "no expectation of it is critical: it would accept anything"
    return ""


def row_condition_problem(item: Mapping[str, Any]) -> str:
    """What is wrong with the condition on rows; empty when it can be read."""
    kwargs = item.get("kwargs") or {}
    condition, parser = kwargs.get("row_condition"), kwargs.get("condition_parser")
    if condition is None or not isinstance(condition, str):
        return ""
    if parser not in {"pandas", "great_expectations"}:
        return f"its row_condition needs 'condition_parser': pandas, not {parser!r}"
    if parser == "pandas":
        try:
            ast.parse(re.sub(r"`[^`]*`", "quoted_name", condition).replace("@", ""), mode="eval")
        except (SyntaxError, ValueError) as error:
            return f"its row_condition {condition!r} cannot be read: {getattr(error, 'msg', error)}"
    return ""


def condition_selects_rows(item: Mapping[str, Any], table: "pd.DataFrame") -> bool:
    """Whether some row is looked at; a condition that no row meets makes a check that cannot fail."""
    kwargs = item.get("kwargs") or {}
    condition = kwargs.get("row_condition")
    if not isinstance(condition, str) or kwargs.get("condition_parser") != "pandas":
        return True
    try:
        return bool(len(table.query(condition)))
    except Exception:  # noqa: BLE001 - what is wrong with it Great Expectations says itself
        return True


def parse_date_columns(item: Mapping[str, Any], table: "pd.DataFrame") -> dict[str, Any]:
    """The expectation with its dates as moments, where it speaks of a column of moments: texts compare as texts."""
    kwargs = dict(item.get("kwargs") or {})
    column = kwargs.get("column")
    if column in table.columns and table[column].dtype.kind == "M":
        for key in ("min_value", "max_value"):
            if isinstance(kwargs.get(key), str) and _DATE.fullmatch(kwargs[key]):
                kwargs[key] += "T00:00:00"
    return {**item, "kwargs": kwargs}
