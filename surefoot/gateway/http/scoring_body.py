"""Decode the JSON or CSV body of a scoring request into a table."""

import csv
import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from surefoot.gateway import json_body
from surefoot.models.model_protocols import NO_OPTIONS, ColumnNames, RequestOptions


class RequestTable(NamedTuple):
    """The rows of a request.

    Attributes:
        names: Columns, numbers where the caller gave numbers or none; None when the rows are bare arrays or numbers.
        values: One list of values a row, or the bare row.
        options: What the model is given besides.
    """

    names: ColumnNames
    values: list[Any]
    options: RequestOptions = NO_OPTIONS


_JSON_FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_EXTRA_KEYS = frozenset({"params", "client_request_id", "signature_name"})
"""Keys that may come with the rows; MLflow reads the first and ignores the others."""
_ABSENT = frozenset(
    {"", "None", "NULL", "null", "NA", "#NA", "<NA>", "N/A", "n/a", "#N/A", "#N/A N/A", "NaN", "-NaN", "nan", "-nan"}
    | {"1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"}
)
"""Cells that are missing values: what pandas takes for one in CSV."""
_LARGEST = 2**63  # beyond it the log could not hold a whole number; infinity and NaN are beyond it too
_EMPTY = len("null,")
_MAX_TABLE_GROWTH, _SMALL_TABLE_BYTES = 4, 1 << 20
"""What the rows have beyond the body, empty cells and values that stand in every row, may be so many times as large as
the body, or so large [bytes]: it goes to the model and into the log, and a small body must not become a large table."""
_SPLIT_KEYS = {"columns", "data", "index"}
_LABELS = {str, int, float}


class MalformedBody(ValueError):
    """The caller's body cannot be read; the message is one sentence for the caller."""


class UnsupportedContentType(MalformedBody):
    """The body is of a content type that the gateway does not read."""


def decode_table(body: bytes, content_type: str) -> RequestTable:
    """Read the rows of a request.

    Args:
        body: What the caller sent.
        content_type: Value of its Content-Type header; empty means JSON.

    Raises:
        MalformedBody: Says what is wrong.
    """
    if content_type == "application/json":  # nearly always
        table = _from_json(body)
        if not table.values:
            raise MalformedBody("the body holds no row")
        return table
    kind, _, parameters = content_type.partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if charset not in {"", "utf-8", "utf8"}:
        raise UnsupportedContentType(f"bodies are UTF-8; {parameters.strip()} is not read")
    kind = kind.strip().lower()
    if kind in {"", "application/json"}:
        table = _from_json(body)
    elif kind == "text/csv":
        table = _from_csv(body)
    else:
        raise UnsupportedContentType(f"send application/json or text/csv, not {kind}")
    if not table.values:
        raise MalformedBody("the body holds no row")
    return table


def _from_json(body: bytes) -> RequestTable:
    content = _loads(body)
    if not isinstance(content, dict):
        raise MalformedBody(
            f"the body is a JSON {_kind(content)}, not an object with one of {', '.join(_JSON_FORMATS)}"
        )
    given = [name for name in _JSON_FORMATS if name in content]
    if len(given) != 1:
        raise MalformedBody(
            f"the body needs exactly one of {', '.join(_JSON_FORMATS)}; it has {given or sorted(content)}"
        )
    name = given[0]
    value = content.pop(name)
    table = _from_split(value) if name == "dataframe_split" else _from_list(name, value, len(body))
    return table._replace(options=_read_options(name, content)) if content else table


def _read_options(name: str, extra: dict[str, object]) -> RequestOptions:
    if strange := extra.keys() - _EXTRA_KEYS:
        raise MalformedBody(f"the gateway does not read {sorted(strange)} next to {name}")
    params = extra.get("params")
    if params is None or params == {}:
        return NO_OPTIONS
    try:
        return RequestOptions(orjson.dumps(params))
    except orjson.JSONEncodeError as error:  # what can be read may be nested too deeply to be handed on
        raise MalformedBody(f"the params cannot be handed on: {error}") from None


def _loads(body: bytes) -> object:
    """Read JSON; NaN, as Python writes a missing number, is null, and a byte order mark is nothing."""
    try:
        return json_body.parse_json_body(body, nan=True)
    except ValueError as error:
        raise MalformedBody(str(error)) from None


def _from_list(name: str, value: object, size: int) -> RequestTable:
    """Read rows, or columns where the format may be either, of a body of so many bytes."""
    if isinstance(value, dict) and name != "dataframe_records":
        return _from_columns(name, value, size)
    if not isinstance(value, list):
        raise MalformedBody(f"{name} is a JSON {_kind(value)}, not a list of objects")
    return _from_rows(name, value, size)


def _from_rows(name: str, rows: list[Any], size: int) -> RequestTable:
    """Objects become a table of every key that some row has; anything else stays a bare row."""
    if name != "dataframe_records" and not any(isinstance(row, dict) for row in rows):
        return RequestTable(None, rows)
    names: dict[str, None] = {}
    given = 0
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise MalformedBody(f"row {number} of {name} is a JSON {_kind(row)}, not an object of column to value")
        names.update(dict.fromkeys(row))
        given += len(row)
    columns = tuple(names)
    empty = len(columns) * len(rows) - given
    if empty * _EMPTY > (most := _most(size)):
        raise MalformedBody(
            f"the {len(rows)} rows of {name} have {len(columns)} columns in all and leave {empty} cells empty, of at"
            f" most {most // _EMPTY} for a body of {size} bytes; send rows of different columns in different requests"
        )
    return RequestTable(columns, [[row.get(column) for column in columns] for row in rows])


def _from_split(value: object) -> RequestTable:
    if not isinstance(value, dict) or "data" not in value or value.keys() - _SPLIT_KEYS:
        raise MalformedBody("dataframe_split is an object with the keys data, columns and at most index")
    data = value["data"]
    if not isinstance(data, list) or not all(isinstance(row, list) for row in data):
        raise MalformedBody("dataframe_split.data is a list of rows, each a list of values")
    columns = value.get("columns")
    if columns is None:
        columns = list(range(len(data[0]) if data else 0))
    if not isinstance(columns, list) or (kinds := set(map(type, columns))) - _LABELS:
        raise MalformedBody("dataframe_split.columns is a list of names")
    names = tuple(columns)
    if len(set(names)) != len(names) or (kinds != {str} and len(set(map(str, names))) != len(names)):  # as in the log
        raise MalformedBody("dataframe_split.columns names a column twice")
    for number, row in enumerate(data):
        if len(row) != len(names):
            raise MalformedBody(f"row {number} has {len(row)} values for {len(names)} columns")
    index = value.get("index")
    if index is not None and (not isinstance(index, list) or len(index) != len(data)):
        raise MalformedBody("dataframe_split.index is a list with a label for each row")
    return RequestTable(names, data)


def _most(size: int) -> int:
    """How much the rows of a body may have beyond it [bytes]."""
    return max(_SMALL_TABLE_BYTES, _MAX_TABLE_GROWTH * size)


def _from_columns(name: str, value: Mapping[str, object], size: int) -> RequestTable:
    """Columns become rows: what is no list is in every row; an object is no column, so one among them makes one row."""
    lengths = {len(values) for values in value.values() if isinstance(values, list)}
    if not lengths or any(isinstance(values, dict) for values in value.values()):
        return RequestTable(tuple(value), [list(value.values())] if value else [])
    if len(lengths) > 1:
        raise MalformedBody(f"the columns of {name} differ in length")
    (n,) = lengths
    shared = [cell for cell in value.values() if not isinstance(cell, list)]
    repeated = n * sum(len(orjson.dumps(cell)) + 1 for cell in shared)
    if repeated > (most := _most(size)):
        raise MalformedBody(
            f"{name} has {len(shared)} values that stand in each of its {n} rows, {repeated} bytes in all, of at most"
            f" {most} for a body of {size} bytes; send fewer rows at once"
        )
    columns = [values if isinstance(values, list) else [values] * n for values in value.values()]
    return RequestTable(tuple(value), [list(row) for row in zip(*columns, strict=True)])


def _from_csv(body: bytes) -> RequestTable:
    try:
        reader = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        names = next(reader, [])
        lines = [line for line in reader if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise MalformedBody(f"the body is not UTF-8 CSV: {error}") from None
    if len(set(names)) != len(names):
        raise MalformedBody("the CSV header names a column twice")
    for number, line in enumerate(lines):
        if len(line) != len(names):
            raise MalformedBody(f"row {number} has {len(line)} values for {len(names)} columns")
    return RequestTable(tuple(names), [[_cell(text) for text in line] for line in lines], RequestOptions(csv=True))


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
