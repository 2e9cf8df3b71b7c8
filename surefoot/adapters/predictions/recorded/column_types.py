"""Define the columns, their types and the error rules of files with recorded requests or labels."""

import re

from surefoot.adapters.predictions.recorded.column_sql import quote_column

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
_MAX_TIME_S = 253_402_300_799.0
"""The end of the year 9999: nothing recorded is later, but milliseconds since 1970 are [Unix seconds]."""


PANDAS_INDEX_COLUMN = re.compile(r"__index_level_\d+__")
"""How pandas names an index without a name: it is no feature."""


def _time(name: str) -> tuple[str, str]:
    rule = f"{quote_column(name)} NOT BETWEEN -{_MAX_TIME_S:.0f} AND {_MAX_TIME_S:.0f}"
    return rule, f"has a time '{name}' beyond the year 9999: give Unix seconds, not milliseconds"


def _measured(name: str, unit: str) -> tuple[str, str]:
    rule = f"{name} < 0 OR isinf({name})"
    return rule, f"has a negative or infinite '{name}': give {unit}, or null where nothing was measured"


RECORD_ERROR_RULES = dict(
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
LABEL_ERROR_RULES = dict(
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
