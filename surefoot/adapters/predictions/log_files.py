"""List the prediction-log files that no compaction has replaced, and build the SQL that reads them."""

import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from surefoot.adapters.predictions.feature_columns import RECORD_COLUMNS_SQL

COMPACTION_FOLDER = ".compaction"
"""Folder of the compaction, in the model's own."""
PART, WHOLE = ".part.parquet", ".whole.parquet"
"""How tables end: made of closed segments, and made of parts."""
MAX_LINE_BYTES = 16 << 20
"""What readers of JSON lines make room for at least [bytes]; gateways write lines of 1 MiB at most."""
COMPACTION_NOTE_SUFFIX = ".replaces"
"""Ends the name of the note that says what a table has replaced, while some of that may still be there."""


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of log file (predictions, labels or shadow answers) with its columns.

    Attributes:
        name: What the names of its files begin with.
        view: What queries call it.
        columns: Column -> type, in the order of the tables. JSON may be a number, a text, a list or a mapping.
        record: SQL that tells a record from what is left of one (a crash in mid-write, a disk that was full).
    """

    name: str
    view: str
    columns: dict[str, str]
    record: str = 'request IS NOT NULL AND "at" IS NOT NULL'


PREDICTION_FILES = FileKind(
    "predictions",
    "log",
    {
        "v": "INTEGER",
        "request": "VARCHAR",
        "row": "INTEGER",
        "model": "VARCHAR",
        "at": "DOUBLE",
        "unit": "VARCHAR",
        "arm": "VARCHAR",
        "version": "VARCHAR",
        "answered_by": "VARCHAR",
        "weight": "DOUBLE",
        "generation": "BIGINT",
        "rollout": "VARCHAR",
        "latency_ms": "DOUBLE",
        "cpu_ms": "DOUBLE",
        "rss_mb": "DOUBLE",
        "error": "VARCHAR",
        "prediction": "JSON",
        "features": "JSON",
        "params": "JSON",
        "left_out": "JSON",
        "model_ms": "DOUBLE",
        "batch": "INTEGER",
        "rung": "VARCHAR",
        "fallback": "VARCHAR",
        "fallback_answer": "JSON",
    },
)
LABEL_FILES = FileKind(
    "labels",
    "labels",
    {"v": "INTEGER", "request": "VARCHAR", "row": "INTEGER", "label": "JSON", "at": "DOUBLE", "received": "DOUBLE"},
)
SHADOW_FILES = FileKind(
    "shadows",
    "shadows",
    {
        "v": "INTEGER",
        "request": "VARCHAR",
        "row": "INTEGER",
        "model": "VARCHAR",
        "at": "DOUBLE",
        "unit": "VARCHAR",
        "version": "VARCHAR",
        "rollout": "VARCHAR",
        "latency_ms": "DOUBLE",
        "cpu_ms": "DOUBLE",
        "rss_mb": "DOUBLE",
        "error": "VARCHAR",
        "prediction": "JSON",
        "left_out": "JSON",
        "model_ms": "DOUBLE",
        "batch": "INTEGER",
        "dropped": "BIGINT",
    },
    '(request IS NOT NULL OR dropped IS NOT NULL) AND "at" IS NOT NULL',
)
FILE_KINDS = (PREDICTION_FILES, LABEL_FILES, SHADOW_FILES)


def list_all_log_files(folder: Path, kind: FileKind, ending: str) -> list[str]:
    """Files of one kind, in order; none where there is no folder.

    Raises:
        OSError: The folder cannot be read.
    """
    try:
        found = os.listdir(folder)  # noqa: PTH208 - Path.glob would pass over a folder that may not be read
    except FileNotFoundError:
        return []
    return sorted(name for name in found if name.startswith(f"{kind.name}-") and name.endswith(ending))


def list_current_log_files(folder: Path, kind: FileKind) -> tuple[list[Path], list[Path]]:
    """Segments and tables that hold every record once, whatever a compaction is doing or wherever one was killed.

    A table stands before what it replaces goes. So one that looks for segments, then for parts, then for whole tables
    misses nothing, and one that reads the notes last counts nothing twice: a note that is gone by then speaks of files
    that are gone too, and what is listed but gone cannot be opened, which is a reason to look again.

    Raises:
        OSError: The folder cannot be read.
    """
    segments = list_all_log_files(folder, kind, ".jsonl")
    tables = list_all_log_files(folder, kind, PART)
    tables += list_all_log_files(folder, kind, WHOLE)
    replaced: set[str] = set()
    for name in list_all_log_files(folder / COMPACTION_FOLDER, kind, COMPACTION_NOTE_SUFFIX):
        if name.removesuffix(COMPACTION_NOTE_SUFFIX) in tables:
            replaced |= set(read_compaction_note(folder / COMPACTION_FOLDER / name))
    listed = (segments, tables)
    return tuple([folder / name for name in some if name not in replaced] for some in listed)  # type: ignore[return-value]


def choose_mergeable_parts(rows: Mapping[Path, int], together: int, most: int) -> list[list[Path]]:
    """Choose the parts that become one table each, as soon as there are enough of them.

    Args:
        rows: How many rows each part has, oldest first [count].
        together: Parts that are merged at a time [count].
        most: Most rows of a table [count]; a part of more than half as many is large enough already.

    Returns:
        Two parts or more for each table.
    """
    small = [part for part, count in rows.items() if 2 * count <= most]
    made: list[list[Path]] = []
    for first in range(0, len(small) - together + 1, together):
        room = 0
        for part in small[first : first + together]:
            if not room or rows[part] > room:
                made.append([])
                room = most
            made[-1].append(part)
            room -= rows[part]
    return [parts for parts in made if len(parts) > 1]


def read_compaction_note(note: Path) -> list[str]:
    """Names of the files that a table has replaced; none when they are gone, and the note with them."""
    try:
        return list(orjson.loads(note.read_bytes()))
    except FileNotFoundError:
        return []


def quote_sql_string(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def sql_path_list(files: Sequence[Path]) -> str:
    """Files as an SQL list."""
    return "[" + ", ".join(quote_sql_string(str(file)) for file in files) + "]"


def find_overlong_lines(segment: Path) -> list[tuple[int, int]]:
    """Where the lines are that readers of JSON are not sure to take, each with its end; older gateways wrote such.

    Raises:
        OSError: The segment cannot be read.
    """
    found: list[tuple[int, int]] = []
    with segment.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= MAX_LINE_BYTES:  # an empty file cannot be mapped either
            return found
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as held:
            start = 0
            while (
                size - start > MAX_LINE_BYTES
            ):  # from one stride to the last end of a line in it: hardly a page is looked at
                end = held.rfind(b"\n", start, start + MAX_LINE_BYTES) + 1
                if not end:
                    end = held.find(b"\n", start + MAX_LINE_BYTES) + 1 or size
                    found.append((start, end))
                start = end
    return found


def json_lines_sql(segments: Sequence[Path], kind: FileKind) -> str:
    """SQL that reads every line of some segments; what is no record has no request or no time.

    One line that is longer than DuckDB has been told would end the whole question, whatever else it is told to ignore.

    Raises:
        OSError: A segment cannot be read.
    """
    wanted = "{" + ", ".join(f"'{column}': '{type_}'" for column, type_ in kind.columns.items()) + "}"
    longest = max(
        (end - start for segment in segments for start, end in find_overlong_lines(segment)), default=MAX_LINE_BYTES
    )
    options = f"format = 'newline_delimited', ignore_errors = true, maximum_object_size = {longest}"
    return f"read_json({sql_path_list(segments)}, {options}, columns = {wanted})"


def log_view_sql(segments: Sequence[Path], tables: Sequence[Path], kind: FileKind) -> str:
    """SQL that makes the view over segments and tables, with the same columns whatever there is."""
    empty = ", ".join(f'NULL::{type_} AS "{column}"' for column, type_ in kind.columns.items())
    parts = [f"SELECT {empty} WHERE false"]
    if segments:
        parts.append(f"SELECT * FROM {json_lines_sql(segments, kind)} WHERE {kind.record}")  # noqa: S608 - files are ours
    if tables:
        parts.append(f"SELECT {RECORD_COLUMNS_SQL} FROM read_parquet({sql_path_list(tables)}, union_by_name = true)")  # noqa: S608 - same
    return f"CREATE VIEW {kind.view} AS " + " UNION ALL BY NAME ".join(parts)
