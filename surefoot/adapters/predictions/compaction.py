"""Compact closed prediction-log segments into Parquet parts, and merge the parts into larger tables."""

import contextlib
import fcntl
import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import orjson

from surefoot.adapters.predictions.feature_columns import RECORD_COLUMNS_SQL, choose_features
from surefoot.adapters.predictions.feature_samples import sample_segment_features, sample_table_features
from surefoot.adapters.predictions.log_files import (
    FILE_KINDS,
    LABEL_FILES,
    MAX_LINE_BYTES,
    PART,
    PREDICTION_FILES,
    WHOLE,
    FileKind,
    choose_mergeable_parts,
    find_overlong_lines,
    json_lines_sql,
    list_current_log_files,
    sql_path_list,
)
from surefoot.adapters.predictions.table_publication import (
    TableContents,
    TablePublisher,
    lock_log_folder,
    open_sorting_database,
    query_row,
)
from surefoot.core.errors import EvidenceUnavailable, NotFound, Rejected
from surefoot.core.naming.model_names import model_file_name

_RECORD_VERSION = 1
"""Version of the records that the tables have columns for."""
PART_TARGET_BYTES = 256 << 20
"""Segments that become one part hold about as much [bytes]."""
PARTS_PER_TABLE = 24
"""So many parts become one whole table; where segments are an hour long that is one table a day [count]."""
MAX_TABLE_ROWS = 1_000_000
"""Most rows of a table that is made of parts: evidence copies and counts a table at once [count]."""
_COPY_BYTES = 1 << 20
"""So much of a segment is copied at once [bytes]."""


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
        reports: Pages and lists that were too old, and are gone [count].
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
    reports: int = 0

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
        if self.reports:
            said.append(f"{_some(self.reports, 'report')} too old and removed")
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
        with lock_log_folder(folder) as scratch, open_sorting_database(scratch) as db:
            run = _Run(db, folder, scratch, CompactionResult(model))
            for kind in FILE_KINDS:
                run.tables.clear(kind)
                run.take(kind, batches)
                run.merge(kind)
                run.tables.clear(kind)
                if before is not None:
                    run.expire(kind, before)
            return run.done
    except (duckdb.Error, OSError) as error:
        said = str(error).splitlines()[0]
        raise EvidenceUnavailable(f"the log of {model} was not compacted, and nothing of it is lost: {said}") from error


class _Run:
    """One run over one model's log."""

    def __init__(self, db: duckdb.DuckDBPyConnection, folder: Path, scratch: Path, done: CompactionResult) -> None:
        self._db, self._folder, self._scratch, self.done = db, folder, scratch, done
        self.tables = TablePublisher(db, folder, scratch)

    def take(self, kind: FileKind, batches: int | None) -> None:
        """Make parts of closed segments."""
        closed = [path for path in list_current_log_files(self._folder, kind)[0] if is_closed_segment(path)]
        for batch in itertools.islice(_batches(closed), batches):
            readable = [self._readable(path, kind) for path in batch]
            source = json_lines_sql(readable, kind)
            read, rows, version = query_row(
                self._db,
                f"SELECT count(*), count(*) FILTER ({kind.record}), max(v) FROM {source}",  # noqa: S608 - files are ours
            )
            if (version or 0) > _RECORD_VERSION:
                raise Rejected(
                    f"the log of {self._folder.name} holds records of version {version}: update Surefoot first"
                )
            if rows:
                features = choose_features(sample_segment_features(readable)) if kind is PREDICTION_FILES else ()
                select = f"SELECT * FROM {source} WHERE {kind.record}"  # noqa: S608 - same
                part = self.tables.publish(kind, PART, batch, TableContents(select, rows, features))
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
        spans = find_overlong_lines(segment)
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
        parts = [path for path in list_current_log_files(self._folder, kind)[1] if path.name.endswith(PART)]
        if len(parts) < PARTS_PER_TABLE:
            return
        counts = f"SELECT file_name, num_rows FROM parquet_file_metadata({sql_path_list(parts)})"  # noqa: S608 - ours
        sizes = dict(self._db.execute(counts).fetchall())
        parts.sort(key=lambda path: path.stat().st_mtime_ns)
        for some in choose_mergeable_parts({path: sizes[str(path)] for path in parts}, PARTS_PER_TABLE, MAX_TABLE_ROWS):
            source = f"read_parquet({sql_path_list(some)}, union_by_name = true)"
            (rows,) = query_row(self._db, f"SELECT count(*) FROM {source}")  # noqa: S608 - files are ours
            # Typed columns are made of the JSON again: that costs no more than to sort them, and parts may have others.
            features = choose_features(sample_table_features(some)) if kind is PREDICTION_FILES else ()
            select = f"SELECT {RECORD_COLUMNS_SQL} FROM {source}"  # noqa: S608 - files are ours
            self.tables.publish(kind, WHOLE, some, TableContents(select, rows, features))
            self.done.merged += len(some)

    def expire(self, kind: FileKind, before: float) -> None:
        """Remove tables whose newest record is too old."""
        tables = list_current_log_files(self._folder, kind)[1]
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
