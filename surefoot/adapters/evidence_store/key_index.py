"""Index the keys of log files by 64-bit hashes: which files share a request, and which labels belong to which file."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from surefoot.adapters.evidence_store.evidence_tables import file_digest, file_stamp, read_table, write_table
from surefoot.adapters.predictions.log_files import LABEL_FILES, PREDICTION_FILES, FileKind, log_view_sql
from surefoot.core.errors import EvidenceUnavailable

_FORMAT = f"1, DuckDB {duckdb.__version__}"
"""Indexes of another form, or of another hash function, are made anew."""
_Hashes = NDArray[np.uint64]
_KEY_SQL = 'hash(request, "row")'
_COLUMNS = {
    PREDICTION_FILES.name: f'{_KEY_SQL} AS key, "at"',
    LABEL_FILES.name: (
        f'{_KEY_SQL} AS key, hash(request, "row", "at", label::VARCHAR, received) AS one,'
        f' hash(\'2\', label::VARCHAR, received, "at", request, "row") AS two, "at"'
    ),
}
_INDEX_MEMORY = "1GB"


@dataclass(frozen=True, slots=True)
class KeyIndex:
    """Keys of the records of some files, in the order of their hashes.

    Attributes:
        name: Name of the file; empty for several.
        digest: SHA-256 of its bytes, in hex; empty for files that still grow.
        key: Hash of request id and row of each record, sorted, shape (n,).
        at: Time of each record [Unix seconds], shape (n,).
        one: Hash of all that a label says; empty for requests, shape (n,).
        two: Another one, shape (n,).
    """

    name: str
    digest: str
    key: _Hashes
    at: NDArray[np.float64]
    one: _Hashes
    two: _Hashes

    @property
    def first_at(self) -> float:
        """Time of the earliest record [Unix seconds]; infinite without any."""
        return float(self.at.min(initial=np.inf))

    @property
    def last_at(self) -> float:
        """Time of the latest record [Unix seconds]; minus infinity without any."""
        return float(self.at.max(initial=-np.inf))

    def find(self, keys: _Hashes) -> NDArray[np.intp]:
        """Places of all records that have one of some keys."""
        keys = np.unique(keys)
        first, last = (np.searchsorted(self.key, keys, side) for side in ("left", "right"))
        counts = last - first
        starts = np.repeat(first - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) if len(keys) else first
        return np.asarray(starts + np.arange(int(counts.sum())), dtype=np.intp)

    def contains(self, keys: _Hashes) -> NDArray[np.bool_]:
        """Which of some keys a record has, shape (len(keys),)."""
        if not len(self.key):
            return np.zeros(len(keys), dtype=bool)
        place = np.minimum(np.searchsorted(self.key, keys), len(self.key) - 1)
        return np.asarray(self.key[place] == keys)


def read_key_index(folder: Path, path: Path, kind: FileKind) -> KeyIndex:
    """Read the index of a closed file, or make it.

    Args:
        folder: Where indexes are kept.
        path: The file, a Parquet table that never changes.
        kind: What it holds.

    Raises:
        EvidenceUnavailable: The file has changed since it was indexed, or cannot be read.
        FileNotFoundError: The file is gone.
    """
    place = folder / f"{path.name}.index"
    stamp = file_stamp(path)
    try:
        table, facts = read_table(place)
    except FileNotFoundError:
        facts = {}
    if facts.get("stamp") != stamp or facts.get("format") != _FORMAT:
        digest = file_digest(path)
        if facts.get("digest", digest) != digest:
            raise EvidenceUnavailable(altered_message(path.name))
        table = _index_table(_query([], [path], kind))
        write_table(place, table, {"format": _FORMAT, "stamp": stamp, "digest": digest}, "none")
        facts = {"digest": digest}
    return _key_index(path.name, str(facts["digest"]), table)


def altered_message(name: str) -> str:
    """Say that a closed part of the log is not what it was."""
    return f"part {name} of the log has changed since its requests were counted: bring back the file as it was"


def index_growing_files(segments: Sequence[Path], kind: FileKind) -> KeyIndex:
    """Index files that still grow; nothing is kept."""
    return _key_index("", "", _index_table(_query(segments, [], kind)))


def altered_parts(folder: Path, log: Path) -> list[str]:
    """Names of the indexed files that are in the log and have other bytes than when they were indexed."""
    found = []
    for place in sorted(folder.glob("*.index")) if folder.is_dir() else ():
        path = log / place.name.removesuffix(".index")
        try:
            _, facts = read_table(place)
            if facts.get("digest") != file_digest(path):
                found.append(path.name)
        except FileNotFoundError:  # its rows have expired, or are in a larger file now
            continue
    return found


def forget_gone_files(folder: Path, names: Sequence[str]) -> None:
    """Remove the indexes of files that are not there any more."""
    for place in folder.glob("*.index") if folder.is_dir() else ():
        if place.name.removesuffix(".index") not in names:
            place.unlink(missing_ok=True)


def shared_keys(indexes: Sequence[KeyIndex]) -> list[tuple[int, int]]:
    """Pairs of indexes that have a key in common, by their places."""
    together = np.concatenate([_once(index.key) for index in indexes]) if indexes else np.zeros(0, np.uint64)
    together.sort(kind="stable")  # it merges what is in order already
    twice = np.unique(together[1:][together[1:] == together[:-1]])
    if not len(twice):
        return []
    has = np.array([index.contains(twice) for index in indexes])
    pairs = {tuple(np.flatnonzero(column)[:2].tolist()) for column in has.T}
    for column in has.T:
        places = np.flatnonzero(column).tolist()
        pairs |= set(itertools.pairwise(places))
    return sorted(pairs)


def _once(keys: _Hashes) -> _Hashes:
    """Sorted keys, each once."""
    return keys[np.append(True, keys[1:] != keys[:-1])] if len(keys) else keys


def _query(segments: Sequence[Path], tables: Sequence[Path], kind: FileKind) -> pa.Table:
    with duckdb.connect() as db:
        db.execute(f"SET threads = 1; SET memory_limit = '{_INDEX_MEMORY}'")
        db.execute(log_view_sql(segments, tables, kind))
        return db.sql(f"SELECT {_COLUMNS[kind.name]} FROM {kind.view}").to_arrow_table()  # noqa: S608 - constants


def _index_table(found: pa.Table) -> pa.Table:
    return found.sort_by("key").combine_chunks()


def _key_index(name: str, digest: str, table: pa.Table) -> KeyIndex:
    def column(wanted: str, kind: Any) -> Any:
        if wanted not in table.column_names:
            return np.zeros(0, dtype=kind)
        return table.column(wanted).combine_chunks().to_numpy(zero_copy_only=False).astype(kind, copy=False)

    return KeyIndex(
        name,
        digest,
        column("key", np.uint64),
        column("at", np.float64),
        column("one", np.uint64),
        column("two", np.uint64),
    )
