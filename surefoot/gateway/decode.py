"""The body of a scoring request: MLflow's formats become a table."""

import csv
import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson


class Table(NamedTuple):
    """The rows of a request.

    Attributes:
        names: Columns; None when the rows are bare arrays or numbers.
        values: One list of values a row, or the bare row.
    """

    names: tuple[str, ...] | None
    values: list[Any]


FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_ABSENT = frozenset({"", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "<NA>"})
_LARGEST = 2**63  # beyond it the log could not hold a whole number; infinity and NaN are beyond it too
_SPLIT_KEYS = {"columns", "data", "index"}


class Malformed(ValueError):
    """The caller's body cannot be read; the message is one sentence for the caller."""


class UnsupportedType(Malformed):
    """The body is of a content type that the gateway does not read."""


def table_of(body: bytes, content_type: str) -> Table:
    """Read the rows of a request.

    Args:
        body: What the caller sent.
        content_type: Value of its Content-Type header; empty means JSON.

    Raises:
        Malformed: Says what is wrong.
    """
    if content_type == "application/json":  # nearly always
        table = _from_json(body)
        if not table.values:
            raise Malformed("the body holds no row")
        return table
    kind, _, parameters = content_type.partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if charset not in {"", "utf-8", "utf8"}:
        raise UnsupportedType(f"bodies are UTF-8; {parameters.strip()} is not read")
    kind = kind.strip().lower()
    if kind in {"", "application/json"}:
        table = _from_json(body)
    elif kind == "text/csv":
        table = _from_csv(body)
    else:
        raise UnsupportedType(f"send application/json or text/csv, not {kind}")
    if not table.values:
        raise Malformed("the body holds no row")
    return table


def _from_json(body: bytes) -> Table:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"the body is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise Malformed(f"the body is a JSON {_kind(content)}, not an object with one of {', '.join(FORMATS)}")
    given = [name for name in FORMATS if name in content]
    if len(given) != 1:
        raise Malformed(f"the body needs exactly one of {', '.join(FORMATS)}; it has {given or sorted(content)}")
    name = given[0]
    if strange := content.keys() - {name}:
        raise Malformed(f"the gateway does not read {sorted(strange)} beside {name}")
    value = content[name]
    if name == "dataframe_split":
        return _from_split(value)
    if name == "inputs" and isinstance(value, dict):
        return _from_columns(value)
    if not isinstance(value, list):
        raise Malformed(f"{name} is a JSON {_kind(value)}, not a list of objects")
    return _from_rows(name, value)


def _from_rows(name: str, rows: list[Any]) -> Table:
    """Objects become a table of every key that some row has; anything else stays a bare row."""
    if name != "dataframe_records" and not any(isinstance(row, dict) for row in rows):
        return Table(None, rows)
    names: dict[str, None] = {}
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise Malformed(f"row {number} of {name} is a JSON {_kind(row)}, not an object of column to value")
        names.update(dict.fromkeys(row))
    columns = tuple(names)
    return Table(columns, [[row.get(column) for column in columns] for row in rows])


def _from_split(value: object) -> Table:
    if not isinstance(value, dict) or "data" not in value or value.keys() - _SPLIT_KEYS:
        raise Malformed("dataframe_split is an object with the keys data, columns and at most index")
    data = value["data"]
    if not isinstance(data, list) or not all(isinstance(row, list) for row in data):
        raise Malformed("dataframe_split.data is a list of rows, each a list of values")
    columns = value.get("columns")
    if columns is None:
        columns = list(range(len(data[0]) if data else 0))
    if not isinstance(columns, list):
        raise Malformed("dataframe_split.columns is a list of names")
    names = tuple(map(str, columns))
    if len(set(names)) != len(names):
        raise Malformed("dataframe_split.columns names a column twice")
    for number, row in enumerate(data):
        if len(row) != len(names):
            raise Malformed(f"row {number} has {len(row)} values for {len(names)} columns")
    return Table(names, data)


def _from_columns(value: Mapping[str, object]) -> Table:
    columns = {name: values if isinstance(values, list) else [values] for name, values in value.items()}
    if len({len(values) for values in columns.values()}) > 1:
        raise Malformed("the columns of inputs differ in length")
    return Table(tuple(columns), [list(row) for row in zip(*columns.values(), strict=True)])


def _from_csv(body: bytes) -> Table:
    try:
        reader = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        names = next(reader, [])
        lines = [line for line in reader if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Malformed(f"the body is not UTF-8 CSV: {error}") from None
    if len(set(names)) != len(names):
        raise Malformed("the CSV header names a column twice")
    for number, line in enumerate(lines):
        if len(line) != len(names):
            raise Malformed(f"row {number} has {len(line)} values for {len(names)} columns")
    return Table(tuple(names), [[_cell(text) for text in line] for line in lines])


def _cell(text: str) -> object:
    """Read a cell as a number only where writing the number gives the same text back, so that 007 stays a code."""
    if text in _ABSENT:
        return None
    if text in {"True", "False"}:
        return text == "True"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if str(number) == text and abs(number) < _LARGEST:
            return number
    return text


def _kind(value: object) -> str:
    names = {dict: "object", list: "list", str: "text", bool: "truth value", type(None): "null"}
    return names.get(type(value), "number")
