"""Describe expectations and their failures in plain language, with values that the journal can hold."""

import datetime as dt
import math
import numbers
from collections.abc import Callable, Mapping

_MAX_SAMPLE_LENGTH = 200
"""Longest text that a sample may hold [characters]."""
_EXACT = 2**53 - 1  # RFC 8785 journals no whole number beyond what a double holds exactly

_ExpectationKwargs = Mapping[str, object]
_ExpectationResult = Mapping[str, object]

# Every phrase continues "37 of 900 values (4.1 %) ...".
_MAPPED: dict[str, Callable[[_ExpectationKwargs], str]] = {
    "expect_column_values_to_be_between": lambda k: f"are {_outside(k)}",
    "expect_column_value_lengths_to_be_between": lambda k: f"have a length {_outside(k)}",
    "expect_column_value_lengths_to_equal": lambda k: f"do not have length {_show(k.get('value'))}",
    "expect_column_values_to_be_in_set": lambda k: f"are not one of {_several(k.get('value_set'))}",
    "expect_column_values_to_not_be_in_set": lambda k: f"are one of {_several(k.get('value_set'))}",
    "expect_column_values_to_not_be_null": lambda _: "are missing",
    "expect_column_values_to_be_null": lambda _: "are not missing",
    "expect_column_values_to_be_unique": lambda _: "occur more than once",
    "expect_compound_columns_to_be_unique": lambda _: "occur more than once",
    "expect_select_column_values_to_be_unique_within_record": lambda _: "repeat a value within the row",
    "expect_column_values_to_match_regex": lambda k: f"do not match {k.get('regex')}",
    "expect_column_values_to_not_match_regex": lambda k: f"match {k.get('regex')}",
    "expect_column_values_to_match_strftime_format": lambda k: f"are no time of the form {k.get('strftime_format')}",
    "expect_column_values_to_be_of_type": lambda k: f"are not of type {k.get('type_')}",
    "expect_column_values_to_be_increasing": lambda _: "do not increase",
    "expect_column_values_to_be_decreasing": lambda _: "do not decrease",
    "expect_column_pair_values_to_be_equal": lambda k: f"differ between {k.get('column_A')} and {k.get('column_B')}",
    "expect_column_pair_values_a_to_be_greater_than_b": lambda k: (
        f"have {k.get('column_A')} not above {k.get('column_B')}"
    ),
}
_NOT_DEMANDS = frozenset({"column", "batch_id", "mostly", "row_condition", "condition_parser", "column_A", "column_B"})


def describe_columns(kwargs: _ExpectationKwargs) -> str:
    """The column or columns that an expectation speaks of; empty for the whole table."""
    return replace_unencodable_text(", ".join(column_names(kwargs)))


def column_names(kwargs: _ExpectationKwargs) -> list[str]:
    """The columns that an expectation speaks of, one by one."""
    single = [str(kwargs[key]) for key in ("column", "column_A", "column_B") if kwargs.get(key) is not None]
    listed = kwargs.get("column_list")
    return single or ([str(item) for item in listed] if isinstance(listed, list | tuple) else [])


def describe_expectation(kwargs: _ExpectationKwargs) -> str:
    """What an expectation demands, for the row of one that held."""
    said = [
        _human(key) if value is True else f"{_human(key)} {_several(value)}"
        for key, value in kwargs.items()
        if _says(key, value)
    ]
    mostly = kwargs.get("mostly")
    if isinstance(mostly, float | int) and mostly < 1:
        said.append(f"{_share(1.0 - mostly)} exceptions are accepted")
    return replace_unencodable_text("; ".join(said)) or "no exceptions"


def describe_failure(kind: str, kwargs: _ExpectationKwargs, result: _ExpectationResult) -> str:
    """Why an expectation does not hold, built from what was counted."""
    return replace_unencodable_text(_blame(kind, kwargs, result))


def _blame(kind: str, kwargs: _ExpectationKwargs, result: _ExpectationResult) -> str:
    if kind == "expect_column_to_exist":
        return f"the table has no column {kwargs.get('column')}"
    total, bad = result.get("element_count"), result.get("unexpected_count")
    if isinstance(total, int) and isinstance(bad, int) and total:
        missing = result.get("missing_count")
        seen = total - (missing if isinstance(missing, int) else 0)
        phrase = _MAPPED[kind](kwargs) if kind in _MAPPED else f"do not satisfy: {describe_expectation(kwargs)}"
        what = "values" if kwargs.get("column") is not None else "rows"
        text = f"{bad:,} of {seen:,} {what} ({_share(bad / max(seen, 1))}) {phrase}"
        mostly = kwargs.get("mostly")
        return f"{text}; {_share(1.0 - mostly)} is accepted" if isinstance(mostly, float) and mostly < 1 else text
    stray = _stray(result)
    if stray:
        return f"found {stray}; demanded: {describe_expectation(kwargs)}"
    found = result.get("observed_value")
    seen_text = "no value that could be computed" if found is None else _several(found)
    return f"found {seen_text}; demanded: {describe_expectation(kwargs)}"


def convert_to_journal_value(value: object) -> object:
    """A value as JSON that can be journalled: finite, short, and of no library's own type."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value) if abs(int(value)) <= _EXACT else str(int(value))
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None if math.isnan(value) else str(float(value))
    if isinstance(value, dt.date):  # a pandas Timestamp is one as well
        return None if value != value else value.isoformat()  # noqa: PLR0124 - pandas' NaT is unlike itself
    text = replace_unencodable_text(str(value))
    return (
        None
        if text in {"<NA>", "NaT"}
        else text
        if len(text) <= _MAX_SAMPLE_LENGTH
        else text[: _MAX_SAMPLE_LENGTH - 1] + "…"
    )


def replace_unencodable_text(text: str) -> str:
    """Text that UTF-8 can hold; data and suites may have lone surrogates."""
    return text.encode("utf-8", "replace").decode()


def _says(key: str, value: object) -> bool:
    """Whether a parameter tells a person something; columns are named elsewhere and defaults are noise."""
    return key not in _NOT_DEMANDS and value is not None and value is not False


def _human(key: str) -> str:
    return {"min_value": "at least", "max_value": "at most", "type_": "type", "value_set": "one of"}.get(
        key, key.replace("_", " ")
    )


def _show(value: object) -> str:
    made = convert_to_journal_value(value)
    if isinstance(made, float):
        return f"{made:.6g}"
    return f"{made:,}" if isinstance(made, int) and not isinstance(made, bool) else str(made)


def _several(value: object) -> str:
    """A value or the first few of many."""
    if isinstance(value, Mapping):
        return ", ".join(f"{_human(str(key))} {_several(item)}" for key, item in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        items = [_several(item) if isinstance(item, list | tuple) else _show(item) for item in value]
        shown = ", ".join(items[:8])
        return f"[{shown}, … {len(items) - 8} more]" if len(items) > 8 else f"[{shown}]"  # noqa: PLR2004 - same 8
    return _show(value)


def _outside(kwargs: _ExpectationKwargs) -> str:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    if high is None:
        return f"{'not above' if kwargs.get('strict_min') else 'below'} {_show(low)}"
    if low is None:
        return f"{'not below' if kwargs.get('strict_max') else 'above'} {_show(high)}"
    left = "(" if kwargs.get("strict_min") else "["
    right = ")" if kwargs.get("strict_max") else "]"
    return f"outside {left}{_show(low)}, {_show(high)}{right}"


def _share(share: float) -> str:
    """A share as a percentage that never rounds something to nothing."""
    percent = 100.0 * share
    return "below 0.1 %" if 0.0 < percent < 0.05 else f"{percent:.1f} %"  # noqa: PLR2004 - half of the last digit


def _stray(result: _ExpectationResult) -> str:
    """What a set of columns or of distinct values holds too much or too little of."""
    details = result.get("details")
    mismatched = details.get("mismatched") if isinstance(details, Mapping) else None
    if isinstance(mismatched, Mapping):
        return "; ".join(f"{key} columns {_several(value)}" for key, value in mismatched.items())
    listed = result.get("partial_unexpected_list")
    return f"unexpected {_several(listed)}" if isinstance(listed, list) and listed else ""
