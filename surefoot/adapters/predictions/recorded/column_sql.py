"""Build the SQL expressions that read and check the columns of a recorded-requests file."""

from collections.abc import Iterator, Mapping

_TIME_COLUMNS = frozenset({"at", "label_at"})
_NAME_COLUMNS = frozenset({"request", "version"})
"""Columns of names, which a table may hold as numbers: pandas makes 7.0 of 7 where one is missing."""
_FLOAT_TYPES = frozenset({"FLOAT", "DOUBLE"})


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


def feature_column_name(name: str) -> str:
    """A feature's column among the pairs, where no column of ours has its name."""
    return quote_column(f"feature {name}")
