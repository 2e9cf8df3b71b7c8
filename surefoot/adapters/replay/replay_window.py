"""Store a replay's logged requests in a temporary DuckDB database."""

import contextlib
import itertools
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from surefoot.adapters.evidence.excluded_counts import MAX_EXAMINED_ROWS, gate_needs_labels
from surefoot.adapters.evidence_store.answer_files import ANSWER_COLUMNS
from surefoot.adapters.feature_tables.compacted_features import CompactedFeatures, open_compacted_features
from surefoot.adapters.feature_tables.json_row_parsing import parse_json_rows
from surefoot.adapters.predictions.labels_in_time import labels_in_time
from surefoot.adapters.predictions.log_files import sql_path_list
from surefoot.adapters.predictions.prediction_log import (
    LoggedRequest,
    PredictionLog,
    parse_logged_json,
    register_sql_functions,
)
from surefoot.adapters.replay.window_copy import MEMORY_LIMIT, REQUEST_COLUMNS, copy_window
from surefoot.column_encryption import ColumnDecryptor, build_column_decryptor
from surefoot.core.answers.answer_values import Floats
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.excluded_records import ExcludedRecords
from surefoot.models.model_protocols import TableColumn

BATCH_ROWS = 50_000
"""Rows that are read and scored at once [count]: models answer large tables faster than small ones."""


@dataclass(frozen=True)
class RequestBatch:
    """Some requests of a window.

    Attributes:
        number: Number of each in the window, in order, shape (n,).
        table: Columns request, row, at, answered_by, prediction, features and params; the last three are JSON.
        part: Has the features in place of the column, where they were not copied.
        decryptor: Decrypts columns of the features; None where none was ever encrypted.
    """

    number: NDArray[np.int64]
    table: pa.Table
    part: CompactedFeatures | None = None
    decryptor: ColumnDecryptor | None = None
    _typed: dict[tuple[TableColumn, ...], tuple[pa.Table, NDArray[np.intp]]] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def typed_rows(self, columns: Sequence[TableColumn]) -> tuple[pa.Table, NDArray[np.intp]]:
        """Give the rows that fit some columns, and their places, as `parse_json_rows` does; they are read once."""
        with self._lock:
            key = tuple(columns)
            if key not in self._typed:
                readable = None if self.decryptor is not None else self.part  # typed columns hold what was encrypted
                found = None if readable is None else readable.typed_rows(self.number, columns)
                self._typed[key] = parse_json_rows(self.features, columns) if found is None else found
            return self._typed[key]

    @property
    def features(self) -> pa.Array:
        """Features as JSON, decrypted.

        Raises:
            EvidenceUnavailable: A key is missing.
        """
        found = self.column_texts("features") if self.part is None else self.part.json_texts(self.number)
        if self.decryptor is None:
            return found
        return pa.array(map(self.decryptor.decrypt_text, found.to_pylist()), type=pa.string())

    def column_texts(self, column: str) -> pa.Array:
        """One column in one piece."""
        return self.table.column(column).combine_chunks().cast(pa.string())


class _Texts(Sequence[str]):
    """A column of texts, of which few are looked at."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        found = self._column[place]
        return found.to_pylist() if isinstance(place, slice) else str(found.as_py())

    def __iter__(self) -> Iterator[str]:
        return iter(self._column.to_pylist())


class ReplayWindow:
    """The requests of one window of the log, each once, with the labels known at its end.

    Attributes:
        size: How many they are [count].
        sampled: Rows that were left out, because no more are wanted [count].
    """

    def __init__(
        self,
        log: PredictionLog,
        model: str,
        since: float,
        until: float,
        max_rows: int | None = None,
        *,
        file_group: bool = False,
        part: Path | None = None,
        decryptor: ColumnDecryptor | None = None,
    ) -> None:
        """Copy the window out of the log; the copy goes with this object.

        Args:
            log: The log.
            model: Registered model.
            since: Beginning, not included [Unix seconds].
            until: End [Unix seconds].
            max_rows: Most rows, drawn by request id [count]; None for all.
            file_group: Whether the log is a part of a log only.
            part: The one table of requests that this log has; None for any others.
            decryptor: Decrypts columns of the features in memory, where the log itself does not name them; the copy
                holds them as the log does.

        Raises:
            EvidenceUnavailable: The log cannot be read, or there is no room for the copy.
        """
        self._decryptor = decryptor or build_column_decryptor(log.root, model)
        self._range = (since, until)
        self._counted: dict[str, list[int]] = {}
        self._joined = 0
        self._home = tempfile.TemporaryDirectory(prefix="surefoot-replay-")
        self.folder = Path(self._home.name)
        place = self.folder / "window.db"
        try:
            self._part = None if part is None else open_compacted_features(part)
            copied = None if self._part is None else part
            self.sampled = log.with_connection(
                model, lambda db: copy_window(db, place, (since, until), max_rows, file_group=file_group, part=copied)
            )
            self._db = duckdb.connect(str(place))
        except BaseException:
            self._home.cleanup()
            raise
        self._db.execute(f"SET threads = 1; SET memory_limit = '{MEMORY_LIMIT}'")
        register_sql_functions(self._db)
        self.size, end = self._db.execute("SELECT count(*), coalesce(max(n) + 1, 0) FROM requests").fetchall()[0]
        self._cuts = [0, *(self._cut(first, end) for first in range(BATCH_ROWS, end, BATCH_ROWS)), end]
        self._close = weakref.finalize(self, _close, self._db, self._home, self._part)

    def count_excluded(self, question: EvidenceRequest, *, examined: bool) -> ExcludedRecords:
        """Count what the evidence for a gate leaves out of the records of the window.

        Args:
            question: What is asked.
            examined: Whether the gate looks at no more than MAX_EXAMINED_ROWS of them, one by one.
        """
        records, rows, refused, unkept = self._counts(
            """
            SELECT coalesce(sum(records), 0), count(*), count(DISTINCT request) FILTER (refused),
                   count(DISTINCT request) FILTER (unkept AND NOT refused) FROM keys
            """
        )
        sampled = self.sampled + (max(rows - MAX_EXAMINED_ROWS, 0) if examined else 0)
        made = ExcludedRecords(records, refused, repeated=records - rows, unkept=unkept, sampled=sampled)
        if not gate_needs_labels(question):
            return made
        early, future = self._counts(
            f"""
            SELECT count(*) FILTER ("at" < asked),
                   count(*) FILTER (asked IS NOT NULL AND "at" > {self._range[1]!r}
                                    AND coalesce(received, 0) <= {self._range[1]!r}) FROM labels
            """  # noqa: S608 - our own numbers
        )
        return replace(made, unknown=self.count_unknown_labels(), early=early, future=future)

    def count_unknown_labels(self) -> int:
        """Count the labels that were reported in the window for requests that were never logged."""
        since, until = self._range
        sql = f'SELECT count(*) FROM labels WHERE asked IS NULL AND "at" > {since!r} AND "at" <= {until!r}'  # noqa: S608 - our own numbers
        return self._counts(sql)[0]

    def _counts(self, sql: str) -> list[int]:
        """The whole numbers of a query with one row; the copy never changes, so each is asked once."""
        if sql not in self._counted:
            (found,) = self._db.execute(sql).fetchall()
            self._counted[sql] = [int(value) for value in found]
        return self._counted[sql]

    def _cut(self, first: int, end: int) -> int:
        """Give the number at which a batch ends, there or later: the rows of one request stay together."""
        before = f"SELECT arg_max(request, n) FROM requests WHERE n >= {first - BATCH_ROWS} AND n < {first}"  # noqa: S608 - our own numbers
        ((last,),) = self._db.execute(before).fetchall()
        looked = BATCH_ROWS
        while True:
            ((found,),) = self._db.execute(
                "SELECT min(n) FROM requests WHERE n >= $1 AND n < $2 AND request IS DISTINCT FROM $3",
                [first, first + looked, last],
            ).fetchall()
            if found is not None or first + looked >= end:
                return end if found is None else int(found)
            looked *= 2

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
                yield RequestBatch(found.column("n").to_numpy(), found, self._part, self._decryptor)

    def request_keys(self) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
        """Give the numbers of all requests, and a table of request, row and at, batch by batch as `batches`."""
        for first, end in itertools.pairwise(self._cuts):
            found = self._table(
                f'SELECT n, request, "row", "at" FROM requests WHERE n >= {first} AND n < {end} ORDER BY n'  # noqa: S608 - our own numbers
            )
            if found.num_rows:
                yield found.column("n").to_numpy(), found.drop_columns("n")

    def request_times(self) -> Iterator[tuple[NDArray[np.int64], Floats, Sequence[str]]]:
        """Give number, time and id of all requests, batch by batch as `batches`."""
        for first, end in itertools.pairwise(self._cuts):
            found = self._table(
                f'SELECT n, "at", request FROM requests WHERE n >= {first} AND n < {end} ORDER BY n'  # noqa: S608 - our own numbers
            )
            if found.num_rows:
                yield found.column("n").to_numpy(), found.column("at").to_numpy(), _Texts(found.column("request"))

    def time_ranks(self) -> NDArray[np.int64]:
        """Give the place of each request in the order of time, then of ids, in the order of the log, shape (rows,)."""
        sql = 'SELECT row_number() OVER (ORDER BY "at", request, "row") - 1 AS place, n FROM requests ORDER BY n'
        return np.asarray(self._table(sql).column("place").to_numpy(), dtype=np.int64)

    def feature_texts(self, number: NDArray[np.int64], column: str) -> pa.Array:
        """Give one feature of a batch as JSON texts; null where it is missing."""
        if self._part is not None and (found := self._part.feature_as_json(number, column)) is not None:
            return found
        key = column.replace("\\", "\\\\").replace('"', '\\"').replace("'", "''")
        value = f"""CAST(json_extract(features, '$."{key}"') AS VARCHAR) AS value"""
        if self._part is not None:
            _rows = pa.table({"features": self._part.json_texts(number)})
            with contextlib.closing(self._db.cursor()) as reader:
                found = reader.sql(f"SELECT {value} FROM _rows").to_arrow_table()  # noqa: S608 - quoted
                return found.column("value").combine_chunks()
        sql = f"""SELECT {value} FROM requests
                  WHERE n >= {number[0]} AND n <= {number[-1]} ORDER BY n"""  # noqa: S608 - quoted, and our own numbers
        return self._table(sql).column("value").combine_chunks()

    def matured_labels(self, number: NDArray[np.int64], at: Floats, maturity: float) -> dict[str, Any]:
        """Give what came true of a batch, as `labels_in_time` does."""
        sql = f'SELECT n, "at", label FROM counted WHERE n >= {number[0]} AND n <= {number[-1]} ORDER BY place'  # noqa: S608 - our own numbers
        return labels_in_time(self._table(sql), number, at, maturity)

    def join_answers(self, files: Sequence[Path]) -> str:
        """Look up kept answers to the requests; give the name of the table that has them."""
        name = f"kept_{self._joined}"
        self._joined += 1
        self._db.execute(
            f"""
            CREATE TABLE {name} AS SELECT r.n, {", ".join(f"any_value(k.{c}) AS {c}" for c in ANSWER_COLUMNS)}
            FROM requests r
            JOIN read_parquet({sql_path_list(files)}) k
              ON r.request = k.request AND r."row" = k."row" AND r."at" = k."at"
            GROUP BY r.n ORDER BY r.n
            """  # noqa: S608 - our own names
        )
        return name

    def joined_answers(self, name: str, number: NDArray[np.int64]) -> tuple[NDArray[np.intp], pa.Table]:
        """Give the places of the requests of a batch that were answered before, and the answers as they are kept."""
        sql = f"SELECT * FROM {name} WHERE n >= {number[0]} AND n <= {number[-1]} ORDER BY n"  # noqa: S608 - our own names and numbers
        found = self._table(sql)
        places = np.searchsorted(number, found.column("n").to_numpy())
        return np.asarray(places, dtype=np.intp), found

    def latest_requests(self, count: int) -> list[LoggedRequest]:
        """Give the latest requests, oldest first, without their labels."""
        found = self._table(
            f'SELECT n, {REQUEST_COLUMNS} FROM requests ORDER BY "at" DESC, request DESC, "row" DESC LIMIT {count}'  # noqa: S608 - constants
        )
        if self._part is not None and found.num_rows:
            order = np.argsort(found.column("n").to_numpy(), kind="stable")
            texts = self._part.json_texts(found.column("n").to_numpy()[order])
            place = found.schema.get_field_index("features")
            found = found.set_column(place, "features", texts.take(pa.array(np.argsort(order))))
        rows = zip(*(column.to_pylist() for column in found.columns[1:]), strict=True)
        return [self.decrypted(_logged_request(cells)) for cells in rows][::-1]

    def decrypted(self, request: LoggedRequest) -> LoggedRequest:
        """A request with its features decrypted.

        Raises:
            EvidenceUnavailable: A key is missing.
        """
        if self._decryptor is None:
            return request
        return replace(request, features=self._decryptor.decrypt_row(request.features))

    def _table(self, sql: str) -> pa.Table:
        with contextlib.closing(self._db.cursor()) as reader:
            return reader.sql(sql).to_arrow_table()


def _logged_request(cells: Sequence[object]) -> LoggedRequest:
    """Make a request of a row of the window's own columns."""
    request, row, at, answered_by, arm, *texts = cells
    prediction, features, params = (parse_logged_json(text) for text in texts)
    named, bare = (features, None) if isinstance(features, dict) else ({}, [features])
    key = (str(request), int(str(row)))
    return LoggedRequest(key, float(str(at)), str(answered_by), str(arm), prediction, named, (), params, bare)


def _close(
    db: duckdb.DuckDBPyConnection, home: "tempfile.TemporaryDirectory[str]", part: CompactedFeatures | None
) -> None:
    db.close()
    if part is not None:
        part.close()
    home.cleanup()
