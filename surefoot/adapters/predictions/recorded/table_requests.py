"""Read the rows of a Parquet or CSV table as requests to model versions."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surefoot.adapters.predictions.prediction_log import LoggedRequest
from surefoot.core.canonical_text import canonical_text
from surefoot.core.errors import Rejected

if TYPE_CHECKING:
    import pyarrow as pa

NON_FEATURE_COLUMNS = ("request", "row", "at", "label", "label_at", "error", "latency_ms", "cpu_ms", "rss_mb")
"""Columns that are no features."""
_MAX_TIME_S = 253_402_300_799.0
"""The end of the year 9999 [Unix seconds]: nothing is later, but milliseconds since 1970 are."""
_MAX_ID = 128
"""Longest request id [characters]."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of a table as a request.

    Attributes:
        request: The request as versions are asked it.
        unit: Unit of the policy; None without one.
        label: What turned out to be true, and when that was known [Unix seconds]; None without one.
        told: What the file says of the answer itself: `error`, `latency_ms`, `cpu_ms` and `rss_mb`, where it has them.
    """

    request: LoggedRequest
    unit: str | None
    label: tuple[float, object] | None
    told: Mapping[str, object]


def read_table(path: Path, unit: str | None = None, answers: str = "") -> list[TableRow]:
    """Read every row of a table; the file is held in memory as a whole.

    Args:
        path: A Parquet file, or a CSV file with a header.
        unit: Column of the policy's unit; None without one.
        answers: Column of the answers that were given; no answers are read without a name.

    Raises:
        Rejected: The file cannot be read or misses a column; the message names file and row.
    """
    table = load_arrow_table(path)
    if missing := [name for name in ("at", *([answers] if answers else [])) if name not in table.column_names]:
        raise Rejected(f"{path} has no column {', '.join(map(repr, missing))} (docs/record-schema.md)")
    features = [name for name in table.column_names if name not in {*NON_FEATURE_COLUMNS, answers}]
    if not features:
        raise Rejected(f"{path} has no column that is a feature: nothing can be asked")
    prefix = "" if "request" in table.column_names else hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    made, seen = list[TableRow](), set[tuple[str, int]]()
    for number, row in enumerate(table.to_pylist(), start=1):
        one = _row(f"{path}: row {number}", row, features, unit, answers, f"{prefix}-{number}")
        if one.request.key in seen:
            raise Rejected(f"{path}: row {number} repeats request {one.request.key[0]!r}, row {one.request.key[1]}")
        seen.add(one.request.key)
        made.append(one)
    if not made:
        raise Rejected(f"{path} has no rows")
    return made


def load_arrow_table(path: Path) -> "pa.Table":
    """Load a table as it is, without the index that pandas has written into it.

    Raises:
        Rejected: The file cannot be read.
    """
    import pyarrow as pa  # noqa: PLC0415 - costs a command a tenth of a second
    from pyarrow import csv, parquet  # noqa: PLC0415 - see above

    if not path.is_file():
        raise Rejected(f"there is no file {path}")
    try:
        table = csv.read_csv(path) if path.suffix.lower() == ".csv" else parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise Rejected(f"{path} cannot be read as {path.suffix or 'Parquet'}: {str(error).splitlines()[0]}") from error
    return table.drop_columns([name for name in table.column_names if name.startswith("__index_level_")])


def _row(
    where: str, row: Mapping[str, Any], features: Sequence[str], unit: str | None, answers: str, made_up: str
) -> TableRow:
    request = made_up if "request" not in row else str(row["request"] if row["request"] is not None else "")
    if not 0 < len(request) <= _MAX_ID or not request.isprintable() or " " in request:
        raise Rejected(f"{where} has no request id of 1 to {_MAX_ID} visible characters")
    at, place = read_unix_time(where, "at", row["at"]), row.get("row")
    if place is not None and (not isinstance(place, int) or place < 0):
        raise Rejected(f"{where} has something in 'row' that is no whole number from 0")
    values = {name: read_json_value(f"{where}, column '{name}'", row[name]) for name in features}
    label = read_json_value(f"{where}, column 'label'", row.get("label"))
    due = at if row.get("label_at") is None else read_unix_time(where, "label_at", row["label_at"])
    asked = LoggedRequest(
        key=(request, int(place or 0)),
        at=at,
        answered_by="",
        arm="",
        prediction=read_json_value(f"{where}, column '{answers}'", row[answers]) if answers else None,
        features=values,
    )
    told = {
        name: read_json_value(where, row[name]) for name in ("error", "latency_ms", "cpu_ms", "rss_mb") if name in row
    }
    key = canonical_text(values.get(unit)) if unit and values.get(unit) is not None else None
    return TableRow(asked, key, None if label is None else (due, label), told)


def read_unix_time(where: str, name: str, value: object) -> float:
    """A time as Unix seconds; one without a zone is UTC.

    Raises:
        Rejected: It is no time.
    """
    if isinstance(value, datetime):
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value)
            value = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
        except ValueError:
            value = None
    if not isinstance(value, int | float | Decimal) or isinstance(value, bool) or not abs(float(value)) <= _MAX_TIME_S:
        raise Rejected(f"{where} has something in '{name}' that is not a time: give Unix seconds or a timestamp")
    return float(value)


def read_json_value(where: str, value: object) -> object:
    """A value as JSON has it, as a caller would have sent it.

    Raises:
        Rejected: JSON has no such value.
    """
    match value:
        case float() if not math.isfinite(value):
            return None
        case None | bool() | int() | float() | str():
            return value
        case Decimal():
            return float(value)
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case list():
            return [read_json_value(where, one) for one in value]
        case dict():
            return {str(key): read_json_value(where, one) for key, one in value.items()}
        case _:
            raise Rejected(f"{where} holds {type(value).__name__}, which no request can hold")
