"""Hold the requests of a window in a temporary database, so that memory does not grow with their number."""

import contextlib
import itertools
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from surefoot.adapters.predictions.log import LoggedRequest, PredictionLog, json_value, register_functions
from surefoot.adapters.predictions.log_files import quote_text
from surefoot.adapters.predictions.record_columns import came_true
from surefoot.core.answers.values import Floats

BATCH_ROWS = 50_000
"""Rows that are read and scored at once [count]: models answer large tables faster than small ones."""
MEMORY_LIMIT = "500MB"
"""What sorting and joining may keep in memory; the rest goes through temporary files."""
MAX_DEPTH = 1000
"""A row that is nested less deeply can always be read [lists and objects within each other]."""
_COLUMNS = 'request, "row", "at", answered_by, arm, prediction, features, params'


@dataclass(frozen=True, slots=True)
class RequestBatch:
    """Some requests of a window.

    Attributes:
        number: Number of each in the window, in order, shape (n,).
        table: Columns request, row, at, answered_by, prediction, features and params; the last three are JSON.
    """

    number: NDArray[np.int64]
    table: pa.Table

    @property
    def at(self) -> Floats:
        """When each was received [Unix seconds], shape (n,)."""
        return np.asarray(self.table.column("at").to_numpy(), dtype=np.float64)

    def texts(self, column: str) -> pa.Array:
        """One column in one piece."""
        return self.table.column(column).combine_chunks().cast(pa.string())


class ReplayWindow:
    """The requests of one window of the log, each once, with the labels known at its end.

    Attributes:
        rows: How many they are [count].
    """

    def __init__(self, log: PredictionLog, model: str, since: float, until: float) -> None:
        """Copy the window out of the log; the copy goes with this object.

        Raises:
            EvidenceUnavailable: The log cannot be read, or there is no room for the copy.
        """
        self._home = tempfile.TemporaryDirectory(prefix="surefoot-replay-")
        self.folder = Path(self._home.name)
        place = self.folder / "window.db"
        try:
            log.read(model, lambda db: _copy(db, place, since, until))
            self._db = duckdb.connect(str(place))
        except BaseException:
            self._home.cleanup()
            raise
        self._db.execute(f"SET threads = 1; SET memory_limit = '{MEMORY_LIMIT}'")
        register_functions(self._db)
        self.rows, end = self._db.execute("SELECT count(*), coalesce(max(n) + 1, 0) FROM requests").fetchall()[0]
        self._cuts = [0, *(self._cut(first) for first in range(BATCH_ROWS, end, BATCH_ROWS)), end]
        self._close = weakref.finalize(self, _close, self._db, self._home)

    def _cut(self, first: int) -> int:
        """Give the number at which a batch ends, there or a little later: the rows of one request stay together."""
        before = f"SELECT arg_max(request, n) FROM requests WHERE n >= {first - BATCH_ROWS} AND n < {first}"  # noqa: S608 - our own numbers
        near = f"n >= {first} AND n < {first + BATCH_ROWS // 2}"
        (last,) = self._db.execute(
            f"SELECT coalesce(max(n) + 1, {first}) FROM requests WHERE {near} AND request = ({before})"  # noqa: S608 - same
        ).fetchall()[0]
        return int(last)

    def close(self) -> None:
        """Remove the copy."""
        self._close()

    def batches(self) -> Iterator[RequestBatch]:
        """Give all requests in the order of the log, the same batches each time."""
        for first, end in itertools.pairwise(self._cuts):
            found = self._table(
                f'SELECT n, request, "row", "at", answered_by, prediction, features, params FROM requests'  # noqa: S608 - constants and our own numbers
                f" WHERE n >= {first} AND n < {end} ORDER BY n"
            )
            if found.num_rows:
                yield RequestBatch(found.column("n").to_numpy(), found)

    def times(self) -> Iterator[tuple[NDArray[np.int64], Floats, list[str]]]:
        """Give number, time and id of all requests, batch by batch as `batches`."""
        for first, end in itertools.pairwise(self._cuts):
            found = self._table(
                f'SELECT n, "at", request FROM requests WHERE n >= {first} AND n < {end} ORDER BY n'  # noqa: S608 - our own numbers
            )
            if found.num_rows:
                yield found.column("n").to_numpy(), found.column("at").to_numpy(), found.column("request").to_pylist()

    def ranks(self) -> NDArray[np.int64]:
        """Give the place of each request in the order of time, then of ids, in the order of the log, shape (rows,)."""
        sql = 'SELECT row_number() OVER (ORDER BY "at", request, "row") - 1 AS place, n FROM requests ORDER BY n'
        return np.asarray(self._table(sql).column("place").to_numpy(), dtype=np.int64)

    def feature(self, number: NDArray[np.int64], column: str) -> pa.Array:
        """Give one feature of a batch as JSON texts; null where it is missing."""
        key = column.replace("\\", "\\\\").replace('"', '\\"').replace("'", "''")
        sql = f"""SELECT CAST(json_extract(features, '$."{key}"') AS VARCHAR) AS value FROM requests
                  WHERE n >= {number[0]} AND n <= {number[-1]} ORDER BY n"""  # noqa: S608 - quoted, and our own numbers
        return self._table(sql).column("value").combine_chunks()

    def labels(self, number: NDArray[np.int64], at: Floats, maturity: float) -> dict[str, Any]:
        """Give what came true of a batch, as `came_true` does."""
        sql = f'SELECT n, "at", label FROM labels WHERE n >= {number[0]} AND n <= {number[-1]} ORDER BY place'  # noqa: S608 - our own numbers
        return came_true(self._table(sql), number, at, maturity)

    def latest(self, count: int) -> list[LoggedRequest]:
        """Give the latest requests, oldest first, without their labels."""
        found = self._db.execute(
            f'SELECT {_COLUMNS} FROM requests ORDER BY "at" DESC, request DESC, "row" DESC LIMIT {count}'  # noqa: S608 - constants
        ).fetchall()
        return [logged_request(cells) for cells in found[::-1]]

    def _table(self, sql: str) -> pa.Table:
        with contextlib.closing(self._db.cursor()) as reader:
            return reader.sql(sql).to_arrow_table()


def logged_request(cells: Sequence[object]) -> LoggedRequest:
    """Make a request of a row of the window's own columns."""
    request, row, at, answered_by, arm, *texts = cells
    prediction, features, params = (json_value(text) for text in texts)
    named, bare = (features, None) if isinstance(features, dict) else ({}, [features])
    key = (str(request), int(str(row)))
    return LoggedRequest(key, float(str(at)), str(answered_by), str(arm), prediction, named, (), params, bare)


def _close(db: duckdb.DuckDBPyConnection, home: "tempfile.TemporaryDirectory[str]") -> None:
    db.close()
    home.cleanup()


def _copy(db: duckdb.DuckDBPyConnection, place: Path, since: float, until: float) -> None:
    """Copy requests and labels of a window; requests that no version could answer, or that were not kept, stay out."""
    place.unlink(missing_ok=True)
    spill = quote_text(str(place.parent / "spill"))
    db.execute(f"SET memory_limit = '{MEMORY_LIMIT}'; SET temp_directory = {spill}")
    db.execute(f"ATTACH {quote_text(str(place))} AS replay")
    # The rows stay in the order of the log; only their keys are sorted, to find the repeated ones.
    db.execute(
        f"""
        CREATE TABLE replay.requests AS SELECT row_number() OVER () - 1 AS n, {_COLUMNS} FROM log
        WHERE "at" > $1 AND "at" <= $2 AND NOT (error IS NOT NULL AND answered_by IS NULL)
        """,  # noqa: S608 - constants
        [since, until],
    )
    db.execute(
        """
        DELETE FROM replay.requests WHERE features IS NULL OR CAST(features AS VARCHAR) = 'null' OR n IN (
          SELECT n FROM (
            SELECT n, row_number() OVER (PARTITION BY request, "row" ORDER BY "at", n) AS place FROM replay.requests
          ) WHERE place > 1
        )
        """
    )
    long = db.execute(f"SELECT n, features FROM replay.requests WHERE length(features) > {2 * MAX_DEPTH}").fetchall()  # noqa: S608 - constant
    for number, features in long:
        if json_value(features) is None:
            db.execute("DELETE FROM replay.requests WHERE n = $1", [number])
    db.execute(
        """
        CREATE TABLE replay.labels AS
        SELECT r.n, l."at", CAST(l.label AS VARCHAR) AS label,
               row_number() OVER (ORDER BY r.n, l."at", l.received NULLS FIRST, l.label::VARCHAR) AS place
        FROM labels l JOIN replay.requests r ON l.request = r.request AND l."row" = r."row" WHERE l."at" <= $1
        ORDER BY place
        """,
        [until],
    )
