"""Hash the labels that belong to each log file to a fingerprint, to recognise outdated counts."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from surefoot.adapters.evidence_store.request_key_index import RequestKeyIndex, key_positions_in_range, split_hash_range
from surefoot.adapters.evidence_store.table_files import read_table, read_table_metadata, write_table
from surefoot.core.errors import EvidenceUnavailable

_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class LabelFingerprint:
    """All labels of some requests as a number that does not depend on their order or on the files that hold them.

    Attributes:
        count: How many there are [count].
        one: Sum of the first hashes of all, modulo 2^64.
        two: Sum of the second hashes, likewise.
        last_at: Time of the latest [Unix seconds]; minus infinity without any.
    """

    count: int = 0
    one: int = 0
    two: int = 0
    last_at: float = -np.inf

    def __add__(self, other: "LabelFingerprint") -> "LabelFingerprint":
        """Labels of both."""
        sums = ((self.one + other.one) & _MASK, (self.two + other.two) & _MASK)
        return LabelFingerprint(self.count + other.count, *sums, max(self.last_at, other.last_at))

    def key(self) -> str:
        """A text that tells one state from another."""
        return f"{self.count} {self.one:x} {self.two:x}"


def _label_fingerprint(labels: Mapping[str, Any], places: NDArray[np.intp]) -> LabelFingerprint:
    """State of some labels, given the columns of their index."""
    if not len(places):
        return LabelFingerprint()
    with np.errstate(over="ignore"):
        one, two = (int(labels[name][places].sum(dtype=np.uint64)) for name in ("one", "two"))
    return LabelFingerprint(len(places), one, two, float(labels["at"][places].max()))


@dataclass
class _LabelFile:
    """A closed file of labels: which parts of the log its labels belong to.

    Attributes:
        index: Its labels.
        states: State of its labels of each part, by the part's digest.
        unmatched: Its labels that belong to no part [count].
    """

    index: RequestKeyIndex
    states: dict[str, LabelFingerprint]
    unmatched: int

    def forget_gone(self, digests: set[str]) -> None:
        """Forget everything where a part is gone: its requests are in another file now, or nowhere."""
        if self.states.keys() - digests:
            self.states, self.unmatched = {}, self.index.size


class LabelIndex:
    """Label fingerprints of all files of a prediction log at one moment.

    Attributes:
        files: Names of the closed files that have labels of each part, by its digest.
    """

    def __init__(
        self,
        folder: Path,
        parts: Sequence[RequestKeyIndex],
        closed: Sequence[RequestKeyIndex],
        growing: RequestKeyIndex,
    ) -> None:
        """Look up every label.

        Args:
            folder: Where it is kept which labels belong to which part.
            parts: Closed parts of the log.
            closed: Closed files of labels.
            growing: Labels in files that still grow.
        """
        self._folder, self._growing = folder, growing
        self._closed = [_read(folder, index) for index in closed]
        digests = {part.digest for part in parts}
        for file in self._closed:
            file.forget_gone(digests)
        _match(folder, parts, [file for file in self._closed if file.states.keys() != digests])
        with growing.open_columns() as columns:
            found = {part.digest: np.flatnonzero(part.contains(columns["key"])) for part in parts}
            self._tail = {digest: _label_fingerprint(columns, places) for digest, places in found.items()}
        self._tail_matched = np.zeros(growing.size, dtype=bool)
        for places in found.values():
            self._tail_matched[places] = True
        self.files: Mapping[str, list[str]] = {
            part.digest: [file.index.name for file in self._closed if file.states[part.digest].count] for part in parts
        }

    def fingerprint(self, digest: str) -> LabelFingerprint:
        """Fingerprint of all labels that belong to the requests of one prediction-log file."""
        return sum((file.states[digest] for file in self._closed), self._tail[digest])

    def closed_label_files_of(self, keys: NDArray[np.uint64]) -> list[str]:
        """Names of the closed files that have labels of some requests."""
        return [file.index.name for file in self._closed if file.index.contains(keys).any()]

    def count_labels_of_no_request(self, since: float, until: float, tail: RequestKeyIndex) -> int:
        """Count the labels of a time that belong to no request.

        Args:
            since: Beginning, not included [Unix seconds].
            until: End [Unix seconds].
            tail: All requests that are in no part.
        """
        found = 0
        for file in [*(file for file in self._closed if file.unmatched), None]:
            index = self._growing if file is None else file.index
            known = self._tail_matched if file is None else _matched(self._folder, file)
            with index.open_columns() as columns:
                rest = np.flatnonzero(~known & (columns["at"] > since) & (columns["at"] <= until))
                found += int((~tail.contains(columns["key"][rest])).sum())
        return found


def _match(folder: Path, parts: Sequence[RequestKeyIndex], files: Sequence[_LabelFile]) -> None:
    """Look up which fresh parts the labels of some files belong to, a range of hashes after the other, and keep it."""
    if not files:
        return
    once = {part.digest: part for part in parts}  # files of the same bytes have the same labels
    fresh = [part for part in once.values() if any(part.digest not in file.states for file in files)]
    wanted = [np.array([part.digest not in file.states for part in fresh], dtype=bool) for file in files]
    matched = [_matched(folder, file) for file in files]
    for file in files:
        file.states |= {part.digest: LabelFingerprint() for part in fresh if part.digest not in file.states}
    for low, high in split_hash_range(sum(part.size for part in fresh)):
        keys, owners = _keys_in_range(fresh, low, high)
        for file, known, asked in zip(files, matched, wanted, strict=True):
            with file.index.open_columns() as columns:
                here = key_positions_in_range(columns["key"], low, high)
                some = {name: column[here] for name, column in columns.items()}
                for owner, places in _owned(keys, owners, some["key"], asked):
                    known[here][places] = True
                    file.states[fresh[owner].digest] += _label_fingerprint(some, places)
    for file, known in zip(files, matched, strict=True):
        file.unmatched = int((~known).sum())
        _write(folder, file, known)


def _owned(
    keys: NDArray[np.uint64], owners: NDArray[np.int32], labels: NDArray[np.uint64], asked: NDArray[np.bool_]
) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Give each part that has some of the labels, and their places; each label once for a part.

    Args:
        keys: Sorted keys of all parts.
        owners: Number of the part of each.
        labels: Sorted keys of labels.
        asked: Which parts are wanted, by their number.
    """
    first, last = (np.searchsorted(keys, labels, side) for side in ("left", "right"))
    counts = last - first
    begins = np.cumsum(counts) - counts
    whose = owners[np.repeat(first - begins, counts) + np.arange(int(counts.sum()))].astype(np.int64)
    places = np.repeat(np.arange(len(labels)), counts)
    found = np.unique((whose * max(len(labels), 1) + places)[asked[whose]])
    whose, places = np.divmod(found, max(len(labels), 1))
    for start, end in itertools.pairwise([*np.flatnonzero(np.diff(whose, prepend=-1)), len(whose)]):
        yield int(whose[start]), places[start:end]


def _keys_in_range(
    parts: Sequence[RequestKeyIndex], low: int, high: int
) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Sorted keys of all parts in a range of hashes, and the number of the part of each."""
    keys, owners = [np.zeros(0, np.uint64)], [np.zeros(0, np.int32)]
    for number, part in enumerate(parts):
        with part.open_columns() as columns:
            some = columns["key"][key_positions_in_range(columns["key"], low, high)].copy()
        keys.append(some)
        owners.append(np.full(len(some), number, dtype=np.int32))
    together = np.concatenate(keys)
    order = np.argsort(together, kind="stable")
    return together[order], np.concatenate(owners)[order]


def _read(folder: Path, index: RequestKeyIndex) -> _LabelFile:
    try:
        facts = read_table_metadata(folder / f"{index.name}.matches")
    except (FileNotFoundError, EvidenceUnavailable):
        return _LabelFile(index, {}, index.size)
    if facts.get("digest") != index.digest or "unmatched" not in facts:
        return _LabelFile(index, {}, index.size)
    found: Mapping[str, list[float]] = facts["states"]  # type: ignore[assignment] # as it was written
    states = {
        digest: LabelFingerprint(int(count), int(one), int(two), -np.inf if last is None else float(last))
        for digest, (count, one, two, last) in found.items()
    }
    return _LabelFile(index, states, int(str(facts["unmatched"])))


def _matched(folder: Path, file: _LabelFile) -> NDArray[np.bool_]:
    """Which labels of a file belong to a part, in the order of its index."""
    if not file.states:
        return np.zeros(file.index.size, dtype=bool)
    table, _ = read_table(folder / f"{file.index.name}.matches")
    return np.array(table.column("matched").combine_chunks().to_numpy(zero_copy_only=False), dtype=bool)


def _write(folder: Path, file: _LabelFile, matched: NDArray[np.bool_]) -> None:
    states = {
        digest: (s.count, str(s.one), str(s.two), s.last_at if s.count else None) for digest, s in file.states.items()
    }
    facts = {"digest": file.index.digest, "states": states, "unmatched": file.unmatched}
    write_table(folder / f"{file.index.name}.matches", pa.table({"matched": pa.array(matched)}), facts)
