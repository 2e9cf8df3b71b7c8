"""Index the request keys of log files, to find files that share requests or were altered."""

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from surefoot.adapters.evidence_store.table_files import (
    file_digest,
    file_size_and_time,
    map_table,
    read_mapped_metadata,
    write_mapped_table,
)
from surefoot.adapters.predictions.log_files import LABEL_FILES, PREDICTION_FILES, FileKind, log_view_sql
from surefoot.core.errors import EvidenceUnavailable

_FORMAT = f"2, DuckDB {duckdb.__version__}"
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
_RANGE_KEYS = 2_000_000
"""Keys of all files that are compared at once [count]."""
_HASHES = 1 << 64


@dataclass(frozen=True, slots=True)
class RequestKeyIndex:
    """Index of the request keys in some log files, sorted by hash; it stays on disk until it is opened.

    Attributes:
        name: Name of the file; empty for several.
        digest: SHA-256 of its bytes, in hex; empty for files that still grow.
        size: Its records [count].
        first_at: Time of the earliest record [Unix seconds]; infinite without any.
        last_at: Time of the latest record [Unix seconds]; minus infinity without any.
        place: Where the index is kept; None for files that still grow.
    """

    name: str
    digest: str
    size: int
    first_at: float
    last_at: float
    place: Path | None = None
    _held: pa.Table | None = field(default=None, repr=False)

    @contextlib.contextmanager
    def open_columns(self) -> Iterator[Mapping[str, Any]]:
        """Open the index.

        Yields:
            Arrays in the order of the keys, shape (size,): key, the hash of request id and row, and of labels at, the
            time [Unix seconds], and one and two, hashes of all that a label says. None outlives the index.
        """
        with contextlib.ExitStack() as stack:
            table = self._held if self.place is None else stack.enter_context(map_table(self.place))
            if table is None or not table.num_rows:
                yield {name: np.zeros(0, dtype=kind) for name, kind in _KINDS.items()}
                return
            yield {name: table.column(name).chunk(0).to_numpy() for name in table.column_names}

    def contains(self, keys: _Hashes) -> NDArray[np.bool_]:
        """Which of some keys a record has, shape (len(keys),)."""
        if not self.size or not len(keys):
            return np.zeros(len(keys), dtype=bool)
        with self.open_columns() as columns:
            own = columns["key"]
            place = np.minimum(np.searchsorted(own, keys), len(own) - 1)
            return np.asarray(own[place] == keys)


_KINDS = {"key": np.uint64, "at": np.float64, "one": np.uint64, "two": np.uint64}


def read_request_key_index(folder: Path, path: Path, kind: FileKind) -> RequestKeyIndex:
    """Read the stored index of a closed log file, or make and store it.

    Args:
        folder: Where indexes are kept.
        path: The file, a Parquet table that never changes.
        kind: What it holds.

    Raises:
        EvidenceUnavailable: The file has changed since it was indexed, or cannot be read.
        FileNotFoundError: The file is gone.
    """
    place = folder / f"{path.name}.index"
    stamp = file_size_and_time(path)
    try:
        facts = read_mapped_metadata(place)
    except (FileNotFoundError, EvidenceUnavailable):  # of an older release, or cut by a lost host
        facts = {}
    if facts.get("stamp") != stamp or facts.get("format") != _FORMAT:
        digest = file_digest(path)
        if facts.get("digest", digest) != digest:
            raise EvidenceUnavailable(altered_file_message(path.name))
        made = _index_files([], [path], kind)
        facts = {
            "format": _FORMAT,
            "stamp": stamp,
            "digest": digest,
            "size": made.size,
            "first_at": made.first_at if made.size else None,
            "last_at": made.last_at if made.size else None,
        }
        kept = [name for name in _KINDS if kind is LABEL_FILES or name == "key"]
        write_mapped_table(place, (made._held or pa.table({})).select(kept), facts)  # noqa: SLF001 - of this module
    first, last = facts["first_at"], facts["last_at"]
    return RequestKeyIndex(
        path.name,
        str(facts["digest"]),
        int(str(facts["size"])),
        np.inf if first is None else float(str(first)),
        -np.inf if last is None else float(str(last)),
        place,
    )


def altered_file_message(name: str) -> str:
    """Error message which says that a closed log file was altered."""
    return f"part {name} of the log has changed since its requests were counted: bring back the file as it was"


def index_growing_files(segments: Sequence[Path], kind: FileKind) -> RequestKeyIndex:
    """Index log files that still grow; this index is not stored."""
    return _index_files(segments, [], kind)


def find_altered_files(folder: Path, log: Path) -> list[str]:
    """Names of the indexed files that are in the log and have other bytes than when they were indexed."""
    found = []
    for place in sorted(folder.glob("*.index")) if folder.is_dir() else ():
        path = log / place.name.removesuffix(".index")
        try:
            if read_mapped_metadata(place).get("digest") != file_digest(path):
                found.append(path.name)
        except (FileNotFoundError, EvidenceUnavailable):  # its rows have expired, or are in a larger file now
            continue
    return found


def remove_stale_indexes(folder: Path, names: Sequence[str]) -> None:
    """Remove the indexes of files that are not there any more."""
    for kind in (".index", ".matches"):
        for place in folder.glob(f"*{kind}") if folder.is_dir() else ():
            if place.name.removesuffix(kind) not in names:
                place.unlink(missing_ok=True)


def split_hash_range(keys: int) -> list[tuple[int, int]]:
    """Cut the hashes into equal ranges, first and last included, each of few enough of so many keys."""
    count = -(-max(keys, 1) // _RANGE_KEYS)
    bounds = [_HASHES * place // count for place in range(count + 1)]
    return [(low, high - 1) for low, high in itertools.pairwise(bounds)]


def key_positions_in_range(keys: _Hashes, low: int, high: int) -> slice:
    """Places of the sorted keys in a range, its first and last hash included."""
    first = int(np.searchsorted(keys, np.uint64(low), "left"))
    return slice(first, int(np.searchsorted(keys, np.uint64(high), "right")))


def find_files_sharing_keys(folder: Path, parts: Sequence[RequestKeyIndex]) -> frozenset[tuple[str, str]]:
    """Pairs of closed files that have a key in common, by their names: enough of them to tell who is connected.

    Args:
        folder: Where it is kept which files were compared.
        parts: The files.
    """
    if not parts:
        return frozenset()
    place = folder / "shared.json"
    names = sorted(part.name for part in parts)
    try:
        known = orjson.loads(place.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        known = {}
    if known.get("format") == _FORMAT and set(names) <= set(known["names"]):
        return frozenset((one, other) for one, other in known["pairs"])
    pairs: set[tuple[str, str]] = set()
    for low, high in split_hash_range(sum(part.size for part in parts)):
        pairs |= {(parts[one].name, parts[other].name) for one, other in _shared_in_range(parts, low, high)}
    made = {"format": _FORMAT, "names": names, "pairs": sorted(pairs)}
    with contextlib.suppress(OSError):  # they are compared again next time
        fresh = place.with_suffix(".tmp")
        fresh.write_bytes(orjson.dumps(made))
        fresh.replace(place)
    return frozenset(pairs)


def _shared_in_range(parts: Sequence[RequestKeyIndex], low: int, high: int) -> set[tuple[int, int]]:
    keys = []
    for part in parts:
        with part.open_columns() as columns:
            some = columns["key"][key_positions_in_range(columns["key"], low, high)]
            keys.append(some[np.append(True, some[1:] != some[:-1])] if len(some) else some.copy())
    together = np.concatenate(keys)
    together.sort(kind="stable")  # it merges what is in order already
    twice = np.unique(together[1:][together[1:] == together[:-1]])
    owners: dict[int, int] = {}
    pairs = set()
    for number, some in enumerate(keys):
        for key in np.intersect1d(some, twice, assume_unique=True).tolist() if len(twice) else ():
            if key in owners:
                pairs.add((owners[key], number))
            owners[key] = number
    return pairs


def _index_files(segments: Sequence[Path], tables: Sequence[Path], kind: FileKind) -> RequestKeyIndex:
    with duckdb.connect() as db:
        db.execute(f"SET threads = 1; SET memory_limit = '{_INDEX_MEMORY}'")
        db.execute(log_view_sql(segments, tables, kind))
        found = db.sql(f"SELECT {_COLUMNS[kind.name]} FROM {kind.view}").to_arrow_table()  # noqa: S608 - constants
    found = found.sort_by("key").combine_chunks()
    at = found.column("at").to_numpy()
    name, digest = "", ""
    return RequestKeyIndex(
        name, digest, len(at), float(at.min(initial=np.inf)), float(at.max(initial=-np.inf)), _held=found
    )
