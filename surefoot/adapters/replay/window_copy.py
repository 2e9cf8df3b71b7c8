"""Copy one time window of the prediction log into a temporary database."""

from pathlib import Path

import duckdb

from surefoot.adapters.predictions.feature_columns import FEATURE_PRESENT_COLUMN
from surefoot.adapters.predictions.log_files import quote_sql_string
from surefoot.adapters.predictions.prediction_log import parse_logged_json

MEMORY_LIMIT = "500MB"
"""What sorting and joining may keep in memory; the rest goes through temporary files."""
_MAX_DEPTH = 1000
"""A row that is nested less deeply can always be read [lists and objects within each other]."""
REQUEST_COLUMNS = 'request, "row", "at", answered_by, arm, prediction, features, params'
"""Columns of the copied requests."""


def copy_window(
    db: duckdb.DuckDBPyConnection,
    place: Path,
    window: tuple[float, float],
    max_rows: int | None,
    *,
    file_group: bool = False,
    part: Path | None = None,
) -> int:
    """Copy requests and labels of a window; requests that no version could answer, or that were not kept, stay out.

    Args:
        db: Connection to the log.
        place: Where the copy goes.
        window: Beginning, not included, and end [Unix seconds].
        max_rows: Most rows [count]; None for all.
        file_group: Whether the log is a part of a log only, so that labels of other requests are no concern of it.
        part: The table of requests, where the log has but one and that has typed columns: then features that are in
            these are not copied, and rows have their numbers in the table.

    Returns:
        How many rows are left out, because no more are wanted.
    """
    place.unlink(missing_ok=True)
    spill = quote_sql_string(str(place.parent / "spill"))
    db.execute(f"SET memory_limit = '{MEMORY_LIMIT}'; SET temp_directory = {spill}")
    db.execute(f"ATTACH {quote_sql_string(str(place))} AS replay")
    # The rows stay in the order of the log; only their keys are sorted, to find the repeated ones.
    source, number, typed = "log", "row_number() OVER () - 1", "false"
    if part is not None:
        source = f"read_parquet({quote_sql_string(str(part))}, file_row_number = true)"
        number, typed = "file_row_number", f"{FEATURE_PRESENT_COLUMN} IS NOT NULL"
    features = "features" if part is None else "NULL::JSON AS features"
    db.execute(
        f"""
        CREATE TABLE replay.requests AS
        SELECT {number} AS n, {REQUEST_COLUMNS.replace("features", features)}, error, {typed} AS typed
        FROM {source} WHERE "at" > $1 AND "at" <= $2
        """,  # noqa: S608 - constants and our own file
        list(window),
    )
    if part is not None:
        _copy_untyped_features(db, source)
    db.execute(
        """
        CREATE TABLE replay.records AS SELECT n, request, "row", "at",
               error IS NOT NULL AND answered_by IS NULL AS refused,
               NOT typed AND features IS NULL AS unkept FROM replay.requests
        """
    )
    db.execute(
        """
        DELETE FROM replay.requests WHERE error IS NOT NULL AND answered_by IS NULL;
        DELETE FROM replay.requests
        WHERE (NOT typed AND (features IS NULL OR CAST(features AS VARCHAR) = 'null')) OR n IN (
          SELECT n FROM (
            SELECT n, row_number() OVER (PARTITION BY request, "row" ORDER BY "at", n) AS place FROM replay.requests
          ) WHERE place > 1
        )
        """
    )
    long = db.execute(f"SELECT n, features FROM replay.requests WHERE length(features) > {2 * _MAX_DEPTH}").fetchall()  # noqa: S608 - constant
    for number, features in long:
        if parse_logged_json(features) is None:
            db.execute("DELETE FROM replay.requests WHERE n = $1", [number])
    sampled = 0 if max_rows is None else _draw_requests(db, max_rows)
    db.execute(
        """
        CREATE TABLE replay.keys AS SELECT l.request, l."row", count(*) AS records, bool_and(refused) AS refused,
               bool_and(unkept) AS unkept, min(l."at") AS asked, max(r.n) AS n
        FROM replay.records l LEFT JOIN replay.requests r ON l.n = r.n GROUP BY l.request, l."row"
        """
    )
    db.execute("DROP TABLE replay.records")
    _copy_labels(db, window[1], file_group=file_group)
    return sampled


def _copy_untyped_features(db: duckdb.DuckDBPyConnection, source: str) -> None:
    """Copy the features of the rows that have no typed columns."""
    (untyped,) = db.execute("SELECT count(*) FROM replay.requests WHERE NOT typed").fetchall()[0]
    if untyped:
        db.execute(
            f"""
            UPDATE replay.requests SET features = p.features
            FROM (SELECT file_row_number, features FROM {source} WHERE {FEATURE_PRESENT_COLUMN} IS NULL) p
            WHERE n = p.file_row_number
            """  # noqa: S608 - constants and our own file
        )


def _draw_requests(db: duckdb.DuckDBPyConnection, most: int) -> int:
    """Leave so many rows at most, whole requests by the digest of their id; how many rows are left out."""
    db.execute(
        """
        CREATE TABLE replay.left_out AS SELECT request FROM (
          SELECT request, sum(rows) OVER (ORDER BY md5(request), request) AS place
          FROM (SELECT request, count(*) AS rows FROM replay.requests GROUP BY request)
        ) WHERE place > $1
        """,
        [most],
    )
    ((rows,),) = db.execute(
        "DELETE FROM replay.requests WHERE request IN (SELECT request FROM replay.left_out)"
    ).fetchall()
    return int(rows)


def _copy_labels(db: duckdb.DuckDBPyConnection, until: float, *, file_group: bool) -> None:
    """Copy the labels that came by the end of the window, and the keys of all that belong to no request outside it."""
    join, which = ("JOIN", "") if file_group else ("LEFT JOIN", 'l.request, l."row",')
    db.execute(
        f"""
        CREATE TABLE replay.labels AS
        SELECT {which} k.n, k.asked, l."at", l.received, CAST(l.label AS VARCHAR) AS label
        FROM labels l {join} replay.keys k ON l.request = k.request AND l."row" = k."row"
        """  # noqa: S608 - constants
    )
    db.execute(
        """
        CREATE TABLE replay.counted AS
        SELECT n, "at", label, row_number() OVER (ORDER BY n, "at", received NULLS FIRST, label) AS place
        FROM replay.labels WHERE n IS NOT NULL AND "at" <= $1 ORDER BY place
        """,
        [until],
    )
    db.execute("ALTER TABLE replay.labels DROP COLUMN label")
    if file_group:
        return
    (strange,) = db.execute("SELECT count(*) FROM replay.labels WHERE asked IS NULL").fetchall()[0]
    if strange:  # the whole log is read once more, only where some label is of no request of the window
        db.execute(
            """
            DELETE FROM replay.labels l WHERE asked IS NULL
            AND EXISTS (SELECT 1 FROM log o WHERE o.request = l.request AND o."row" = l."row")
            """
        )
