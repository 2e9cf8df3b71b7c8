"""Count versions' answers and failures in a time window, and measure a bad version's impact."""

import math
from collections.abc import Collection
from pathlib import Path

import duckdb

from surefoot.adapters.predictions.log_files import quote_sql_string
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.predictions.recorded.column_sql import quote_column
from surefoot.adapters.served_answers.exposed_requests import GROUP_COLUMN_PREFIX, MEMORY_LIMIT
from surefoot.core.errors import EvidenceUnavailable
from surefoot.core.incidents.incident_report import Impact, VersionTraffic
from surefoot.core.incidents.timeline import AnsweredPeriod

_INTERVALS = 60
"""Intervals into which the time around an incident is cut [count]."""
_MOST_GROUPS = 20
"""Groups of one column that a report names, those with most answers first [count]."""


def count_traffic(
    log: PredictionLog, model: str, versions: Collection[str], since: float, until: float
) -> tuple[VersionTraffic, ...]:
    """Count each version's answers and failures, and its latency, in each interval of a time window.

    Args:
        log: The prediction log.
        model: Registered model.
        versions: Numbers of the versions.
        since: Beginning of the window [Unix seconds].
        until: Its end, included [Unix seconds].

    Raises:
        EvidenceUnavailable: The prediction log cannot be read.
    """
    size = max((until - since) / _INTERVALS, 1.0)
    rows = log.query_rows(
        model,
        """SELECT CAST(floor(("at" - $1) / $3) AS BIGINT) AS interval, version, count(*),
                  count(*) FILTER (WHERE error IS NOT NULL), quantile_cont(latency_ms, 0.95)
           FROM log WHERE "at" >= $1 AND "at" <= $2 AND list_contains($4, version)
           GROUP BY interval, version ORDER BY interval, version""",
        (since, until, size, list(versions)),
    )
    found = []
    for place, version, answers, failed, latency in rows:
        measured = None if latency is None or not math.isfinite(float(str(latency))) else float(str(latency))
        found.append(
            VersionTraffic(since + size * int(str(place)), str(version), int(str(answers)), int(str(failed)), measured)
        )
    return tuple(found)


def count_failed(log: PredictionLog, model: str, version: str, since: float, until: float) -> int:
    """Rows that a version was asked for and failed in a window of time, which another one answered or refused.

    Raises:
        EvidenceUnavailable: The prediction log cannot be read.
    """
    sql = """SELECT count(*) FROM log WHERE version = $1 AND error IS NOT NULL AND "at" >= $2 AND "at" <= $3"""
    return int(str(log.query_rows(model, sql, (version, since, until))[0][0]))


def read_answered_period(exposed: Path) -> AnsweredPeriod | None:
    """When callers got the first and the last answer in a list of answers; None when it is empty.

    Raises:
        EvidenceUnavailable: The list cannot be read.
    """
    sql = f'SELECT min("at"), max("at") FROM read_parquet({quote_sql_string(str(exposed))})'  # noqa: S608 - our own file
    try:
        with duckdb.connect() as db:
            first, last = _rows(db, sql)[0]
    except duckdb.Error as error:
        raise EvidenceUnavailable(f"the list of exposed requests {exposed} cannot be read: {error}") from error
    return None if first is None else AnsweredPeriod(float(str(first)), float(str(last)))


def measure_impact(exposed: Path, onset: float, failed: int) -> Impact:
    """Count the requests, units and groups that a bad version has answered since an onset.

    Args:
        exposed: The list, as `surefoot exposure` writes it.
        onset: When the trouble began [Unix seconds].
        failed: Requests that it failed since then [count].

    Raises:
        EvidenceUnavailable: The list cannot be read.
    """
    try:
        with duckdb.connect() as db:
            db.execute(f"SET threads = 1; SET memory_limit = '{MEMORY_LIMIT}'")
            db.execute(f"CREATE VIEW every AS SELECT * FROM read_parquet({quote_sql_string(str(exposed))})")  # noqa: S608 - our own file
            db.execute(f'CREATE VIEW listed AS SELECT * FROM every WHERE "at" >= {float(onset)!r}')  # noqa: S608 - a number
            total = _rows(db, "SELECT count(*) FROM every")[0][0]
            (counts,) = _rows(
                db,
                """SELECT count(*), count(DISTINCT request), count(DISTINCT unit), count(unit), min("at"), max("at"),
                          count(good_answer), count(*) FILTER (WHERE changed) FROM listed""",
            )
            phases = {str(name): int(str(rows)) for name, rows in _rows(db, _BY_PHASE)}
            names = [str(row[0]) for row in _rows(db, "SELECT column_name FROM (DESCRIBE listed)")]
            groups: dict[str, int] = {}
            for name in names:
                if name.startswith(GROUP_COLUMN_PREFIX):
                    groups |= _groups(db, name)
    except duckdb.Error as error:
        raise EvidenceUnavailable(f"the list of exposed requests {exposed} cannot be read: {error}") from error
    answers, requests, units, with_unit, first, last, known, changed = counts
    return Impact(
        answers=int(str(answers)),
        requests=int(str(requests)),
        units=int(str(units)) if with_unit else None,
        groups=groups,
        phases=phases,
        known=int(str(known)),
        changed=int(str(changed)) if known else None,
        all_answers=int(str(total)),
        failed=failed,
        first=None if first is None else float(str(first)),
        last=None if last is None else float(str(last)),
    )


_BY_PHASE = "SELECT phase, count(*) FROM listed GROUP BY phase ORDER BY 2 DESC, 1"


def _groups(db: duckdb.DuckDBPyConnection, name: str) -> dict[str, int]:
    """Answers by value of one column, those with most answers first."""
    column, label = quote_column(name), name.removeprefix(GROUP_COLUMN_PREFIX)
    sql = f"""SELECT {column}, count(*) FROM listed WHERE {column} IS NOT NULL
              GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_MOST_GROUPS}"""  # noqa: S608 - the name is quoted
    return {f"{label}={value}": int(str(rows)) for value, rows in _rows(db, sql)}


def _rows(db: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[object, ...]]:
    return db.execute(sql).fetchall()
