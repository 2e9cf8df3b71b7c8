"""Write a table of exposed requests, those that a bad version answered, with the good version for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from surefoot.adapters.predictions.log_files import quote_sql_string
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.predictions.recorded.column_sql import quote_column
from surefoot.core.canonical_text import MISSING_SLICE_NAME, canonical_text_of_json
from surefoot.core.served_versions.exposure_periods import ExposurePeriod, ServingRole

MEMORY_LIMIT = "500MB"
"""What sorting and joining may keep in memory; the rest goes through temporary files."""
GROUP_COLUMN_PREFIX = "group."
"""Begins the names of the columns that hold the groups of a request."""
NOT_ASKED_REASON = "not asked"
"""Why a row has no answer of the good version: no version was asked."""
NO_GOOD_VERSION_REASON = "the journal knows no good version for its split"
_PERIOD_SCHEMA = pa.schema(
    [
        ("generation", pa.int64()),
        ("since", pa.float64()),
        ("until", pa.float64()),
        ("phase", pa.string()),
        ("good_version", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class ExposureQuery:
    """Which of a version's served answers are to be listed.

    Attributes:
        model: Registered model.
        number: Version that answered.
        periods: When it served, as what.
        groups: Columns that the policy makes slices of.
        dropped: Columns of which the log keeps nothing.
        hashed: Columns of which the log keeps digests.
        rollout: Only answers under the splits of this rollout; empty for all.
        units: Spellings of the one unit that is asked about; empty for all.
        good: The one good version that is asked about every answer; empty to ask that of each split.
        arm: Only answers to requests of this arm; empty for both.
    """

    model: str
    number: str
    periods: tuple[ExposurePeriod, ...]
    groups: tuple[str, ...] = ()
    dropped: frozenset[str] = frozenset()
    hashed: frozenset[str] = frozenset()
    rollout: str = ""
    units: tuple[str, ...] = ()
    good: str = ""
    arm: str = ""


def list_exposed_requests(log: PredictionLog, question: ExposureQuery, folder: Path) -> Path:
    """Write every answer that callers got from the version to a table, in the order of time.

    Records with the id of another one are answers too and are all listed: `occurrence` counts them from 0.

    Args:
        log: The log.
        question: Which answers are listed.
        folder: Where the table goes.

    Returns:
        A Parquet file with the number `n` of each row, what the log says of it, `phase`, `good_version`, the groups,
        and `ask`, which names the request without a second one of that name.

    Raises:
        EvidenceUnavailable: The log cannot be read.
    """
    made = folder / "exposed.parquet"
    log.with_connection(question.model, lambda db: _write(db, question, folder, made))
    return made


def _write(db: duckdb.DuckDBPyConnection, question: ExposureQuery, folder: Path, made: Path) -> None:
    db.execute(f"SET memory_limit = '{MEMORY_LIMIT}'; SET temp_directory = {quote_sql_string(str(folder / 'spill'))}")
    db.register("periods", _period_table(question.periods))
    wanted = ["answered_by = $number"]
    asked: dict[str, object] = {
        "number": question.number,
        "unknown": str(ServingRole.UNKNOWN),
        "good": question.good or None,
    }
    if question.rollout:
        wanted.append("rollout = $rollout")
        asked["rollout"] = question.rollout
    if question.arm:
        wanted.append("arm = $arm")
        asked["arm"] = question.arm
    if question.units:
        wanted.append("list_contains($units, unit)")
        asked["units"] = list(question.units)
    listed = folder / "listed.parquet"
    groups = "".join(f", {_feature_sql(column)} AS {_raw_name(i)}" for i, column in enumerate(question.groups))
    columns = """l.request, l."row", l."at", l.unit, l.rollout, l.weight, l.generation, l.answered_by AS version,
        CAST(l.prediction AS VARCHAR) AS answer, CAST(l.features AS VARCHAR) AS features,
        CAST(l.params AS VARCHAR) AS params, CAST(l.left_out AS VARCHAR) AS left_out"""
    source = f"SELECT * FROM log WHERE {' AND '.join(wanted)}"  # noqa: S608 - constants; values are parameters
    _copy(
        db,
        f"""
        SELECT {columns}, coalesce(p.phase, $unknown) AS phase, coalesce($good, p.good_version) AS good_version{groups}
        FROM ({source}) l LEFT JOIN periods p
          ON l.generation = p.generation AND l."at" >= p.since AND l."at" < p.until
        """,  # noqa: S608 - names are quoted
        listed,
        asked,
    )
    for i, _ in enumerate(question.groups):
        _map_values(db, listed, i)
    named = "".join(
        f", {_group_sql(question, i)} AS {quote_column(GROUP_COLUMN_PREFIX + c)}" for i, c in enumerate(question.groups)
    )
    joins = "".join(
        f" LEFT JOIN values_{i} v{i} ON r.{_raw_name(i)} = v{i}.value" for i, _ in enumerate(question.groups)
    )
    order = '"at", request, "row", generation, twin'
    raw = ", ".join(_raw_name(i) for i, _ in enumerate(question.groups))
    _copy(
        db,
        f"""
        SELECT row_number() OVER (ORDER BY {order}) - 1 AS n, r.* {f"EXCLUDE ({raw})" if raw else ""}{named},
               CASE WHEN occurrence + twin = 0 THEN request
                    ELSE concat_ws(chr(31), request, occurrence, twin) END AS ask
        FROM (
          SELECT *, dense_rank() OVER (PARTITION BY request ORDER BY "at", generation) - 1 AS occurrence,
                 row_number() OVER (PARTITION BY request, "row", "at", generation ORDER BY answer) - 1 AS twin
          FROM read_parquet({quote_sql_string(str(listed))})
        ) r {joins} ORDER BY n
        """,  # noqa: S608 - names are quoted
        made,
        {},
    )
    listed.unlink()


def _period_table(periods: Sequence[ExposurePeriod]) -> pa.Table:
    rows = [
        {
            "generation": one.generation,
            "since": one.since,
            "until": one.until,
            "phase": str(one.phase),
            "good_version": one.good.number if one.good else None,
        }
        for one in periods
    ]
    return pa.Table.from_pylist(rows, schema=_PERIOD_SCHEMA)


def _feature_sql(column: str) -> str:
    """SQL of one feature as JSON text; NULL where the row does not have it."""
    key = column.replace("\\", "\\\\").replace('"', '\\"').replace("'", "''")
    return f"CAST(json_extract(l.features, '$.\"{key}\"') AS VARCHAR)"


def _raw_name(place: int) -> str:
    return f"raw_{place}"


def _map_values(db: duckdb.DuckDBPyConnection, listed: Path, place: int) -> None:
    """Make the table that spells each different value of a column canonically, as slices are named."""
    name = _raw_name(place)
    sql = f"SELECT DISTINCT {name} AS value FROM read_parquet({quote_sql_string(str(listed))}) WHERE {name} IS NOT NULL"  # noqa: S608 - our own name
    values = db.sql(sql).to_arrow_table().column("value").to_pylist()
    spelt = pa.table(
        {
            "value": pa.array(values, pa.string()),
            "text": pa.array([canonical_text_of_json(v) for v in values], pa.string()),
        }
    )
    db.register(f"values_{place}", spelt)


def _group_sql(question: ExposureQuery, place: int) -> str:
    """SQL of the group of a row; NULL where the log does not hold it."""
    if question.groups[place] in question.dropped:
        return "NULL::VARCHAR"
    named = "r.features IS NOT NULL AND starts_with(r.features, '{')"
    return f"CASE WHEN {named} THEN coalesce(v{place}.text, {quote_sql_string(MISSING_SLICE_NAME)}) END"


def _copy(db: duckdb.DuckDBPyConnection, select: str, made: Path, parameters: dict[str, object]) -> None:
    """Write the rows of a query to a Parquet file."""
    db.execute(
        f"COPY ({select}) TO {quote_sql_string(str(made))} (FORMAT parquet, COMPRESSION zstd)", parameters or None
    )
