"""Compact closed prediction-log segments into Parquet files, merge these into larger ones, and remove expired files."""

import contextlib
import fcntl
import itertools
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import orjson

from surefoot.adapters.predictions.feature_columns import RECORD_COLUMNS, Feature, choose_features
from surefoot.adapters.predictions.feature_samples import sample_segment_features, sample_table_features
from surefoot.adapters.predictions.feature_sql import parquet_footer_option, typed_columns_sql
from surefoot.adapters.predictions.log_files import (
    COMPACTION_FOLDER,
    COMPACTION_NOTE_SUFFIX,
    FILE_KINDS,
    LABEL_FILES,
    MAX_LINE_BYTES,
    PART,
    PREDICTION_FILES,
    WHOLE,
    FileKind,
    current_log_files,
    json_lines_sql,
    list_all_log_files,
    mergeable_parts,
    overlong_lines,
    quote_sql_string,
    read_compaction_note,
    sql_path_list,
)
from surefoot.core.errors import Conflict, EvidenceUnavailable, InvariantBroken, NotFound, Rejected
from surefoot.core.naming.model_names import model_file_name

_RECORD_VERSION = 1
"""Version of the records that the tables have columns for."""
PART_TARGET_BYTES = 256 << 20
"""Segments that become one part hold about as much [bytes]."""
PARTS_PER_TABLE = 24
"""So many parts become one whole table; where segments are an hour long that is one table a day [count]."""
MAX_TABLE_ROWS = 1_000_000
"""Most rows of a table that is made of parts: evidence copies and counts a table at once [count]."""
GROUP, GROUP_BYTES = 65_536, "32MB"
"""Rows of a row group [count], or their size where that is less: what a question about a short time reads at least."""
_SMALL_GROUP_BYTES = "16MB"
"""Size of a row group of so many typed columns that memory is short."""
_UNTYPABLE = (duckdb.OutOfMemoryException, duckdb.ProgrammingError, duckdb.DataError)
"""Errors of DuckDB that typed columns may have caused."""
_COPY_BYTES = 1 << 20
"""So much of a segment is copied at once [bytes]."""
SORT_MEMORY_LIMIT = "512MB"
"""What sorting may keep in memory; the rest goes through temporary files beside the log."""


@dataclass
class CompactionResult:
    """Counts of what one compaction has converted, merged and removed.

    Attributes:
        model: Registered model.
        segments: Segments that became Parquet [count].
        rows: Records in them [count].
        torn: Lines in them that were no record, and are gone [count].
        bytes_before: Size of those segments [bytes].
        bytes_after: Size of the parts that they became [bytes].
        merged: Parts that became whole tables [count].
        removed: Tables that were too old, and are gone [count].
        removed_rows: Records in those [count].
    """

    model: str
    segments: int = 0
    rows: int = 0
    torn: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    merged: int = 0
    removed: int = 0
    removed_rows: int = 0

    def describe(self) -> str:
        """One line for a person; empty when there was nothing to do."""
        said = []
        if self.segments:
            sizes = f"{self.bytes_before / 2**20:,.1f} MB became {self.bytes_after / 2**20:,.1f} MB"
            said.append(f"{_some(self.segments, 'segment')} with {_some(self.rows, 'row')}: {sizes}")
        if self.torn:
            said.append(f"{_some(self.torn, 'torn line')} left out")
        if self.merged:
            said.append(f"{_some(self.merged, 'part')} merged")
        if self.removed:
            said.append(f"{_some(self.removed, 'table')} with {_some(self.removed_rows, 'row')} too old and removed")
        return "; ".join(said)


def _some(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def compact_log(root: Path, model: str, *, before: float | None = None, batches: int | None = None) -> CompactionResult:
    """Compact the log of one model; an error or a kill at any time loses no record and duplicates none.

    Args:
        root: Folder of the logs.
        model: Registered model.
        before: Tables whose newest record is older go [Unix seconds]; none without it.
        batches: Most parts to make of each kind [count]; all without it.

    Raises:
        NotFound: Nothing of this model was ever logged.
        Conflict: Somebody else compacts this log.
        Rejected: The log holds records that this release does not know.
        EvidenceUnavailable: The disk is full, or refuses something else; nothing is lost.
    """
    folder = root / model_file_name(model)
    if not folder.is_dir():
        raise NotFound(f"nothing of {model} has been logged in {root}")
    try:
        with _alone(folder) as scratch, duckdb.connect() as db:
            db.execute(
                f"SET threads = 1; SET memory_limit = '{SORT_MEMORY_LIMIT}';"
                f" SET temp_directory = {quote_sql_string(str(scratch))}"
            )
            db.execute("SET preserve_insertion_order = false")  # needed for row groups limited by their size
            run = _Run(db, folder, scratch, CompactionResult(model))
            for kind in FILE_KINDS:
                run.clear(kind)
                run.take(kind, batches)
                run.merge(kind)
                run.clear(kind)
                if before is not None:
                    run.expire(kind, before)
            return run.done
    except (duckdb.Error, OSError) as error:
        said = str(error).splitlines()[0]
        raise EvidenceUnavailable(f"the log of {model} was not compacted, and nothing of it is lost: {said}") from error


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[Path]:
    """Be the only one who compacts this log, with an empty folder for what is not finished."""
    (folder / COMPACTION_FOLDER).mkdir(exist_ok=True)
    scratch = folder / COMPACTION_FOLDER / "scratch"
    with (folder / COMPACTION_FOLDER / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"somebody else compacts the log of {folder.name}: wait until that is done") from None
        shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
        scratch.mkdir(exist_ok=True)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Contents:
    """What a table gets.

    Attributes:
        select: SQL of the records.
        rows: How many they are [count].
        features: Features that get typed columns, or are known to have none; empty where the table has no such columns.
    """

    select: str
    rows: int
    features: tuple[Feature, ...]


class _Run:
    """One run over one model's log."""

    def __init__(self, db: duckdb.DuckDBPyConnection, folder: Path, scratch: Path, done: CompactionResult) -> None:
        self._db, self._folder, self._scratch, self.done = db, folder, scratch, done

    def take(self, kind: FileKind, batches: int | None) -> None:
        """Make parts of closed segments."""
        closed = [path for path in current_log_files(self._folder, kind)[0] if is_closed_segment(path)]
        for batch in itertools.islice(_batches(closed), batches):
            readable = [self._readable(path, kind) for path in batch]
            source = json_lines_sql(readable, kind)
            read, rows, version = self._row(
                f"SELECT count(*), count(*) FILTER ({kind.record}), max(v) FROM {source}"  # noqa: S608 - files are ours
            )
            if (version or 0) > _RECORD_VERSION:
                raise Rejected(
                    f"the log of {self._folder.name} holds records of version {version}: update Surefoot first"
                )
            if rows:
                features = choose_features(sample_segment_features(readable)) if kind is PREDICTION_FILES else ()
                select = f"SELECT * FROM {source} WHERE {kind.record}"  # noqa: S608 - same
                part = self._publish(kind, PART, batch, _Contents(select, rows, features))
                self.done.bytes_after += part.stat().st_size
            self.done.segments += len(batch)
            self.done.rows += rows
            self.done.torn += read - rows
            self.done.bytes_before += sum(path.stat().st_size for path in batch)
            copies = [path for path in readable if path.parent == self._scratch]
            for path in copies if rows else copies + batch:
                path.unlink()

    def _readable(self, segment: Path, kind: FileKind) -> Path:
        """A segment without a line that is too long to be read: itself, or a copy with a shorter one in its place."""
        spans = overlong_lines(segment)
        if not spans:
            return segment
        made = self._scratch / segment.name
        with segment.open("rb") as source, made.open("wb") as target:
            for start, end in spans:
                for at in range(source.tell(), start, _COPY_BYTES):
                    target.write(source.read(min(_COPY_BYTES, start - at)))
                target.write(_short(source.read(end - start), kind))
            shutil.copyfileobj(source, target, _COPY_BYTES)
        return made

    def merge(self, kind: FileKind) -> None:
        """Make whole tables of parts, as soon as there are enough."""
        parts = [path for path in current_log_files(self._folder, kind)[1] if path.name.endswith(PART)]
        if len(parts) < PARTS_PER_TABLE:
            return
        counts = f"SELECT file_name, num_rows FROM parquet_file_metadata({sql_path_list(parts)})"  # noqa: S608 - ours
        sizes = dict(self._db.execute(counts).fetchall())
        parts.sort(key=lambda path: path.stat().st_mtime_ns)
        for some in mergeable_parts({path: sizes[str(path)] for path in parts}, PARTS_PER_TABLE, MAX_TABLE_ROWS):
            source = f"read_parquet({sql_path_list(some)}, union_by_name = true)"
            (rows,) = self._row(f"SELECT count(*) FROM {source}")  # noqa: S608 - files are ours
            # Typed columns are made of the JSON again: that costs no more than to sort them, and parts may have others.
            features = choose_features(sample_table_features(some)) if kind is PREDICTION_FILES else ()
            select = f"SELECT {RECORD_COLUMNS} FROM {source}"  # noqa: S608 - files are ours
            self._publish(kind, WHOLE, some, _Contents(select, rows, features))
            self.done.merged += len(some)

    def clear(self, kind: FileKind) -> None:
        """Remove what has been replaced, in this run or in one that was killed."""
        for ending in (PART, WHOLE):  # what a part has replaced goes before the part itself may go
            for name in list_all_log_files(self._folder / COMPACTION_FOLDER, kind, ending + COMPACTION_NOTE_SUFFIX):
                note = self._folder / COMPACTION_FOLDER / name
                if (self._folder / name.removesuffix(COMPACTION_NOTE_SUFFIX)).exists():
                    for old in read_compaction_note(note):
                        (self._folder / old).unlink(missing_ok=True)
                    _sync(self._folder)
                note.unlink()

    def expire(self, kind: FileKind, before: float) -> None:
        """Remove tables whose newest record is too old."""
        tables = current_log_files(self._folder, kind)[1]
        if not tables:
            return
        found = self._db.execute(
            f"""
            SELECT file_name, sum(row_group_num_rows) FROM parquet_metadata({sql_path_list(tables)})
            WHERE path_in_schema = 'at' GROUP BY file_name HAVING max(CAST(stats_max_value AS DOUBLE)) < $1
            """,  # noqa: S608 - files are ours
            (before,),
        ).fetchall()
        for name, rows in found:
            Path(name).unlink()
            self.done.removed += 1
            self.done.removed_rows += rows

    def _row(self, sql: str) -> tuple[int, ...]:
        return self._db.execute(sql).fetchall()[0]

    def _write(self, fresh: Path, kind: FileKind, contents: _Contents) -> int:
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
        return self._row(f"COPY ({select}) TO {quote_sql_string(str(target))} ({options})")[0]

    def _publish(self, kind: FileKind, ending: str, sources: Sequence[Path], contents: _Contents) -> Path:
        """Write a table in the place of its sources; its last rename is the moment at which it counts and they do not.

        The sources stay for now: questions that have listed them may go on reading.
        """
        fresh = self._scratch / f"{kind.name}-{secrets.token_hex(8)}{ending}"
        written = self._write(fresh, kind, contents)
        if written != contents.rows:
            raise InvariantBroken(
                f"{fresh.name} got {written} of {contents.rows} rows: another process still writes to a closed segment"
            )
        fresh.chmod(0o640)  # as the segments: requests are private
        note = fresh.with_name(fresh.name + COMPACTION_NOTE_SUFFIX)
        note.write_bytes(orjson.dumps([path.name for path in sources]))
        for path, place in ((note, self._folder / COMPACTION_FOLDER), (fresh, self._folder)):
            _sync(path)
            path.rename(place / path.name)
            _sync(place)
        return self._folder / fresh.name


def _short(line: bytes, kind: FileKind) -> bytes:
    """A line without what made it too long, as gateways of today would have written it; else one that is no record."""
    with contextlib.suppress(orjson.JSONDecodeError, orjson.JSONEncodeError):
        record = orjson.loads(line)
        for field in ("features", "params", "prediction"):
            if isinstance(record, dict) and record.get(field) is not None and kind is not LABEL_FILES:
                record |= {field: None, "left_out": {**(record.get("left_out") or {}), field: "too long"}}
                line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
                if len(line) <= MAX_LINE_BYTES:
                    return line
    return b"{}\n"


def _batches(segments: Sequence[Path]) -> Iterator[list[Path]]:
    """Segments that become one part each time, oldest first."""
    batch: list[Path] = []
    size = 0
    for path in sorted(segments, key=lambda path: path.stat().st_mtime_ns):
        batch.append(path)
        size += path.stat().st_size
        if size >= PART_TARGET_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def is_closed_segment(segment: Path) -> bool:
    """Whether a segment is closed and not empty; an empty closed one is deleted."""
    descriptor = os.open(segment, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if _written(descriptor):
            return False
        if os.fstat(descriptor).st_size:
            return True
        segment.unlink()  # while we have the lock: a writer that has begun it just now sees that it is gone
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)
    return False


def _written(descriptor: int) -> bool:
    """Whether anybody has a file open for writing; gateways of 0.1.0 do so without a lock."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:  # not every file system knows leases, and they are for the owner only: then the lock alone counts
        return False
    return False


def _sync(path: Path) -> None:
    """Make a file, or the names in a folder, last."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
