"""Define the columns of a file of recorded requests, their types, and the errors of invalid values."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surefoot.core.answers.answer_values import Floats

REQUIRED_COLUMNS = {"request": "VARCHAR", "at": "DOUBLE", "arm": "VARCHAR", "version": "VARCHAR", "prediction": ""}
"""Columns that every record must have, and their types; a prediction may be a number, a list or a structure."""
OPTIONAL_COLUMNS = {
    "row": "INTEGER",
    "unit": "VARCHAR",
    "weight": "DOUBLE",
    "error": "VARCHAR",
    "latency_ms": "DOUBLE",
    "cpu_ms": "DOUBLE",
    "rss_mb": "DOUBLE",
    "label": "",
    "label_at": "DOUBLE",
}
LABEL_COLUMNS = {"request": "VARCHAR", "row": "INTEGER", "label": "", "at": "DOUBLE"}
"""Columns of a file of labels; only `row` may be absent."""
VERSION_COLUMNS = ("version", "prediction", "error", "latency_ms", "cpu_ms", "rss_mb")
"""Columns that each of the two versions has of its own."""
_TIME_COLUMNS = frozenset({"at", "label_at"})
_NAME_COLUMNS = frozenset({"request", "version"})
"""Columns of names, which a table may hold as numbers: pandas makes 7.0 of 7 where one is missing."""
_FLOAT_TYPES = frozenset({"FLOAT", "DOUBLE"})
_MAX_TIME_S = 253_402_300_799.0
"""The end of the year 9999: nothing recorded is later, but milliseconds since 1970 are [Unix seconds]."""


INDEX_COLUMN_NAME = re.compile(r"__index_level_\d+__")
"""How pandas names an index without a name: it is no feature."""


def quote_column(name: str) -> str:
    """A column's name as SQL wants it."""
    return '"' + name.replace('"', '""') + '"'


def text_literal_sql(value: str) -> str:
    """A text as SQL wants it."""
    return "'" + value.replace("'", "''") + "'"


def canonical_text_sql(column: str) -> str:
    """The canonical text of a column's value, as an expression; NULL where it says nothing."""
    return f"canonical_text(CAST(to_json({column}) AS VARCHAR))"


def double_literal_sql(value: float) -> str:
    """A number as SQL wants it; a bare one would be a decimal and lose its last bits."""
    return f"'{value!r}'::DOUBLE"


def _cast_column_sql(name: str, kind: str, found: str) -> str:
    """A column in the type that it must have, as an expression; NULL where a value does not fit.

    Args:
        name: The column.
        kind: The type that it must have; empty for any.
        found: The type that it has in the file.
    """
    column = quote_column(name)
    if not kind:  # what is not finite is no answer and no label, as for the gateway
        return f"CASE WHEN isfinite({column}) THEN {column} END" if found in _FLOAT_TYPES else column
    if name in _TIME_COLUMNS and (found == "DATE" or found.startswith("TIMESTAMP")):
        return f"epoch({column})"
    if name in _TIME_COLUMNS and found == "VARCHAR":
        return f"coalesce(TRY_CAST({column} AS DOUBLE), epoch(TRY_CAST({column} AS TIMESTAMPTZ)))"
    if kind == "DOUBLE":  # not nullif: statistics of a Parquet file know no NaN, and a comparison with it is left out
        number = f"TRY_CAST({column} AS DOUBLE)"
        return f"CASE WHEN NOT isnan({number}) THEN {number} END"
    if name == "row":
        return f"coalesce(TRY_CAST({column} AS INTEGER), 0)"
    if name == "unit" or (
        name in _NAME_COLUMNS and found != "VARCHAR"
    ):  # numbers are spelled as a gateway would spell them
        return canonical_text_sql(column)
    # Tables hold an empty text where there is nothing.
    return f"nullif(TRY_CAST({column} AS VARCHAR), '')"


def select_columns_sql(wanted: Mapping[str, str], types: Mapping[str, str]) -> str:
    """Every wanted column in its type, NULL where the file has none; rows count from 0."""
    absent = {"row": "0"}
    made = (
        _cast_column_sql(name, kind, types[name]) if name in types else absent.get(name, f"NULL::{kind or 'VARCHAR'}")
        for name, kind in wanted.items()
    )
    return ", ".join(f"{made_} AS {quote_column(name)}" for name, made_ in zip(wanted, made, strict=True))


def unreadable_conditions(wanted: Mapping[str, str], types: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Conditions on a file's own columns that no value may meet, and what they mean: it would be lost in reading."""
    for name, kind in wanted.items():
        if name not in types or kind not in {"DOUBLE", "INTEGER"} or (types[name] in _FLOAT_TYPES and kind == "DOUBLE"):
            continue
        column = quote_column(name)
        lost = f"coalesce(TRY_CAST({column} AS INTEGER) <> TRY_CAST({column} AS DOUBLE), true)"
        if kind == "DOUBLE":
            lost = f"{_cast_column_sql(name, kind, types[name])} IS NULL"
        what = "a time" if name in _TIME_COLUMNS else "a whole number" if name == "row" else "a number"
        more = ": give Unix seconds or a timestamp" if name in _TIME_COLUMNS else ", nor null"
        yield f"{column} IS NOT NULL AND {lost}", f"has something in '{name}' that is not {what}{more}"


def _time(name: str) -> tuple[str, str]:
    rule = f"{quote_column(name)} NOT BETWEEN -{_MAX_TIME_S:.0f} AND {_MAX_TIME_S:.0f}"
    return rule, f"has a time '{name}' beyond the year 9999: give Unix seconds, not milliseconds"


def _measured(name: str, unit: str) -> tuple[str, str]:
    rule = f"{name} < 0 OR isinf({name})"
    return rule, f"has a negative or infinite '{name}': give {unit}, or null where nothing was measured"


RECORD_RULES = dict(
    [
        ("request IS NULL", "has no request id: both versions' records of one request need the same id"),
        ('"at" IS NULL', "has no time 'at': give Unix seconds or a timestamp"),
        _time("at"),
        _time("label_at"),
        (
            "arm IS NULL OR arm NOT IN ('champion', 'candidate')",
            "has an 'arm' that is neither champion nor candidate: say which of the two answered",
        ),
        ("version IS NULL", "has no version: give its number"),
        ("weight NOT BETWEEN 0 AND 100", "has a 'weight' outside 0 to 100: give the candidate's share in percent"),
        _measured("latency_ms", "milliseconds"),
        _measured("cpu_ms", "milliseconds"),
        _measured("rss_mb", "megabytes"),
    ]
)
"""What no record may be, and how the one that is is refused."""
LABEL_RULES = dict(
    [
        ("request IS NULL", "has no request id: give that of the request whose label it is"),
        (
            '"at" IS NULL',
            "has no time 'at': give when the label became known, or it cannot be told whether it was late",
        ),
        _time("at"),
    ]
)
"""The same for labels."""


def feature_column_name(name: str) -> str:
    """A feature's column among the pairs, where no column of ours has its name."""
    return quote_column(f"feature {name}")


def labels_in_time(labels: Any, number: "NDArray[np.int64]", at: Floats, maturity: float) -> dict[str, Any]:
    """The label of each request that counts, how many came in time, and how many came at all.

    Args:
        labels: Arrow table of labels in the order of n and time, with the columns n, at and label.
        number: Number of each request, shape (n,).
        at: When each was made [Unix seconds], shape (n,).
        maturity: Age at which a label counts [seconds]; 0 takes whatever is known.
    """
    first, last = int(number.min()), int(number.max())
    row = np.full(last - first + 1, -1)
    row[number - first] = np.arange(len(number))
    whose = row[labels.column("n").to_numpy() - first]
    came = labels.column("at").to_numpy()
    counted = (whose >= 0) & ((maturity == 0.0) | (came <= at[whose] + maturity))
    latest = np.full(len(number), -1)
    latest[whose[counted]] = np.flatnonzero(counted)  # of several the last one stays
    return {
        "label": _take_json_values(labels.column("label").combine_chunks(), latest),
        "in_time": np.bincount(whose[counted], minlength=len(number)),
        "known": np.bincount(whose[whose >= 0], minlength=len(number)),
    }


def _take_json_values(texts: Any, which: NDArray[np.int64]) -> Any:
    """Some of a column of JSON texts, of -1 none: numbers as an array with NaN, everything else as a list."""
    encoded = texts.dictionary_encode()
    values = [json.loads(item) for item in encoded.dictionary.to_pylist()]
    where = np.append(encoded.indices.to_numpy(), len(values))[which]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return np.array([*values, math.nan], dtype=float)[where]
    return [[*values, None][index] for index in where]


def arrow_column_values(column: Any) -> Any:
    """An Arrow column as the tally wants it."""
    import pyarrow as pa  # noqa: PLC0415 - only who backtests needs it

    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
    return column.to_pylist()
