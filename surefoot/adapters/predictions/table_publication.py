"""Write Parquet tables that safely replace other files in a locked prediction-log folder."""

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import orjson

from surefoot.adapters.predictions.feature_columns import Feature
from surefoot.adapters.predictions.feature_sql import parquet_footer_option, typed_columns_sql
from surefoot.adapters.predictions.log_files import (
    COMPACTION_FOLDER,
    COMPACTION_NOTE_SUFFIX,
    LABEL_FILES,
    PART,
    WHOLE,
    FileKind,
    list_all_log_files,
    quote_sql_string,
    read_compaction_note,
)
from surefoot.core.errors import Conflict, InvariantBroken

GROUP, GROUP_BYTES = 65_536, "32MB"
"""Rows of a row group [count], or their size where that is less: what a question about a short time reads at least."""
_SMALL_GROUP_BYTES = "16MB"
"""Size of a row group of so many typed columns that memory is short."""
_UNTYPABLE = (duckdb.OutOfMemoryException, duckdb.ProgrammingError, duckdb.DataError)
"""Errors of DuckDB that typed columns may have caused."""
SORT_MEMORY_LIMIT = "512MB"
"""What sorting may keep in memory; the rest goes through temporary files beside the log."""


@contextlib.contextmanager
def lock_log_folder(folder: Path) -> Iterator[Path]:
    """Be the only process that compacts or rewrites this log, with an empty folder for what is not finished.

    Raises:
        Conflict: Another process does so.
    """
    (folder / COMPACTION_FOLDER).mkdir(exist_ok=True)
    scratch = folder / COMPACTION_FOLDER / "scratch"
    with (folder / COMPACTION_FOLDER / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"another process compacts the log of {folder.name}: wait until that is done") from None
        shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
        scratch.mkdir(exist_ok=True)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def open_sorting_database(scratch: Path) -> duckdb.DuckDBPyConnection:
    """Open an empty database that sorts in bounded memory, and spills into a folder."""
    db = duckdb.connect()
    db.execute(
        f"SET threads = 1; SET memory_limit = '{SORT_MEMORY_LIMIT}';"
        f" SET temp_directory = {quote_sql_string(str(scratch))}"
    )
    db.execute("SET preserve_insertion_order = false")  # needed for row groups limited by their size
    return db


@dataclass(frozen=True, slots=True)
class TableContents:
    """What a table gets.

    Attributes:
        select: SQL of the records.
        rows: How many they are [count].
        features: Features that get typed columns, or are known to have none; empty where the table has no such columns.
    """

    select: str
    rows: int
    features: tuple[Feature, ...]


def new_table_name(kind: FileKind, ending: str) -> str:
    """Name for a table that no other one has had."""
    return f"{kind.name}-{secrets.token_hex(8)}{ending}"


class TablePublisher:
    """Writes tables into the folder of one model's log."""

    def __init__(self, db: duckdb.DuckDBPyConnection, folder: Path, scratch: Path) -> None:
        """Write by this connection, from this scratch folder into this folder."""
        self._db, self._folder, self._scratch = db, folder, scratch

    def publish(
        self, kind: FileKind, ending: str, sources: Sequence[Path], contents: TableContents, name: str = ""
    ) -> Path:
        """Write a table in the place of its sources; its last rename is the moment at which it counts and they do not.

        The sources stay for now: questions that have listed them may go on reading.

        Args:
            kind: What it holds.
            ending: How its name ends: PART or WHOLE.
            sources: Files that it replaces.
            contents: What it gets.
            name: Its name; a new one without it.

        Raises:
            InvariantBroken: It got another number of rows than it should.
        """
        fresh = self._scratch / (name or new_table_name(kind, ending))
        written = self._write(fresh, kind, contents)
        if written != contents.rows:
            raise InvariantBroken(
                f"{fresh.name} got {written} of {contents.rows} rows: another process still writes to a closed segment"
            )
        fresh.chmod(0o640)  # as the segments: requests are private
        note = fresh.with_name(fresh.name + COMPACTION_NOTE_SUFFIX)
        note.write_bytes(orjson.dumps([path.name for path in sources]))
        for path, place in ((note, self._folder / COMPACTION_FOLDER), (fresh, self._folder)):
            sync_path(path)
            path.rename(place / path.name)
            sync_path(place)
        return self._folder / fresh.name

    def clear(self, kind: FileKind) -> None:
        """Remove what tables of a kind have replaced, in this run or in one that was killed."""
        for ending in (PART, WHOLE):  # what a part has replaced goes before the part itself may go
            for name in list_all_log_files(self._folder / COMPACTION_FOLDER, kind, ending + COMPACTION_NOTE_SUFFIX):
                note = self._folder / COMPACTION_FOLDER / name
                if (self._folder / name.removesuffix(COMPACTION_NOTE_SUFFIX)).exists():
                    for old in read_compaction_note(note):
                        (self._folder / old).unlink(missing_ok=True)
                    sync_path(self._folder)
                note.unlink()

    def _write(self, fresh: Path, kind: FileKind, contents: TableContents) -> int:
        """Write a table, and give how many rows it has; without order or typed columns where there is no other way."""
        order = (
            'ORDER BY "at"' if kind is LABEL_FILES else 'ORDER BY "at", request, "row"'
        )  # rows of a request together
        ordered = f"{contents.select} {order}"
        if not contents.features:
            return self._write_records(fresh, ordered, contents.select)
        with contextlib.suppress(*_UNTYPABLE):
            return self._copy(fresh, typed_columns_sql(self._db, ordered, contents.features), contents.features)
        # To sort and to type many columns at once takes too much memory; typed columns repeat the JSON, so they may go.
        untyped = fresh.with_name(fresh.name + ".untyped")
        rows = self._write_records(untyped, ordered, contents.select)
        try:
            select = f"SELECT * FROM read_parquet({quote_sql_string(str(untyped))})"  # noqa: S608 - ours
            typed = typed_columns_sql(self._db, select, contents.features)
            rows = self._copy(fresh, typed, contents.features, _SMALL_GROUP_BYTES)
        except _UNTYPABLE:
            untyped.rename(fresh)
        untyped.unlink(missing_ok=True)
        return rows

    def _write_records(self, target: Path, ordered: str, select: str) -> int:
        try:
            return self._copy(target, ordered)
        except duckdb.OutOfMemoryException:
            # Rows of megabytes cannot be sorted in so little; as they come they are nearly in the order of time.
            return self._copy(target, select)

    def _copy(self, target: Path, select: str, features: tuple[Feature, ...] = (), group: str = "") -> int:
        """Write rows to a table, and give how many they are."""
        options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {GROUP}"
        options += f", ROW_GROUP_SIZE_BYTES '{group or GROUP_BYTES}'"
        options += f", {parquet_footer_option(features)}" if features else ""
        return query_row(self._db, f"COPY ({select}) TO {quote_sql_string(str(target))} ({options})")[0]


def query_row(db: duckdb.DuckDBPyConnection, sql: str) -> tuple[int, ...]:
    """The one row that a query gives."""
    return db.execute(sql).fetchall()[0]


def sync_path(path: Path) -> None:
    """Make a file, or the names in a folder, last."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_unfinished_files(folder: Path) -> None:
    """Remove what killed processes have left below a folder: files that were never renamed to the name that they get.

    A process that is writing such a file finds it gone, which is an error that it repeats.
    """
    for path in folder.rglob(".*") if folder.is_dir() else ():
        if path.suffix == ".tmp" and path.is_file():
            path.unlink(missing_ok=True)
