"""Tell which labels each part of a log has, so that its sums are made anew when, and only when, these change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from surefoot.adapters.evidence_store.evidence_tables import read_table, write_table
from surefoot.adapters.evidence_store.key_index import KeyIndex

_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class LabelState:
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

    def __add__(self, other: "LabelState") -> "LabelState":
        """Labels of both."""
        sums = ((self.one + other.one) & _MASK, (self.two + other.two) & _MASK)
        return LabelState(self.count + other.count, *sums, max(self.last_at, other.last_at))

    def key(self) -> str:
        """A text that tells one state from another."""
        return f"{self.count} {self.one:x} {self.two:x}"


def label_state(labels: KeyIndex, places: NDArray[np.intp]) -> LabelState:
    """State of some labels of an index."""
    if not len(places):
        return LabelState()
    with np.errstate(over="ignore"):
        one, two = (int(hashes[places].sum(dtype=np.uint64)) for hashes in (labels.one, labels.two))
    return LabelState(len(places), one, two, float(labels.at[places].max()))


@dataclass
class _LabelFile:
    """A closed file of labels: which parts of the log its labels belong to."""

    index: KeyIndex
    states: dict[str, LabelState] = field(default_factory=dict)
    matched: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def match(self, parts: Sequence[KeyIndex]) -> bool:
        """Look up the parts that were not looked up yet; whether there were any."""
        digests = {part.digest for part in parts}
        if self.states.keys() - digests or len(self.matched) != len(self.index.key):
            self.states = {}  # the requests of a part that is gone are in another file now, or nowhere
            self.matched = np.zeros(len(self.index.key), dtype=bool)
        fresh = [part for part in parts if part.digest not in self.states]
        for part in fresh:
            if len(part.key) > len(self.index.key):
                places = np.flatnonzero(part.contains(self.index.key))
            else:
                places = self.index.find(part.key)
            self.states[part.digest] = label_state(self.index, places)
            self.matched[places] = True
        return bool(fresh)


class LabelsInForce:
    """The labels of a log as of one moment.

    Attributes:
        files: Names of the closed files that have labels of each part, by its digest.
    """

    def __init__(self, folder: Path, parts: Sequence[KeyIndex], closed: Sequence[KeyIndex], growing: KeyIndex) -> None:
        """Look up every label.

        Args:
            folder: Where it is kept which labels belong to which part.
            parts: Closed parts of the log.
            closed: Closed files of labels.
            growing: Labels in files that still grow.
        """
        self._growing = growing
        self._closed = [_read(folder, index) for index in closed]
        for file in self._closed:
            if file.match(parts):
                _write(folder, file)
        self._tail = {part.digest: label_state(growing, np.flatnonzero(part.contains(growing.key))) for part in parts}
        known = [part.contains(growing.key) for part in parts]
        self._tail_matched = np.logical_or.reduce(known) if known else np.zeros(len(growing.key), dtype=bool)
        self.files: Mapping[str, list[str]] = {
            part.digest: [file.index.name for file in self._closed if file.states[part.digest].count] for part in parts
        }

    def state(self, digest: str) -> LabelState:
        """All labels of a part."""
        return sum((file.states[digest] for file in self._closed), self._tail[digest])

    def closed_files_of(self, keys: NDArray[np.uint64]) -> list[str]:
        """Names of the closed files that have labels of some requests."""
        return [file.index.name for file in self._closed if file.index.contains(keys).any()]

    def count_unknown(self, since: float, until: float, tail: KeyIndex) -> int:
        """Count the labels of a time that belong to no request.

        Args:
            since: Beginning, not included [Unix seconds].
            until: End [Unix seconds].
            tail: All requests that are in no part.
        """
        found = 0
        sides = [(file.index, file.matched) for file in self._closed] + [(self._growing, self._tail_matched)]
        for index, matched in sides:
            rest = np.flatnonzero(~matched & (index.at > since) & (index.at <= until))
            found += int((~tail.contains(index.key[rest])).sum())
        return found


def _read(folder: Path, index: KeyIndex) -> _LabelFile:
    try:
        table, facts = read_table(folder / f"{index.name}.matches")
    except FileNotFoundError:
        return _LabelFile(index)
    if facts.get("digest") != index.digest:
        return _LabelFile(index)
    found: Mapping[str, list[float]] = facts["states"]  # type: ignore[assignment] # as it was written
    states = {
        digest: LabelState(int(count), int(one), int(two), -np.inf if last is None else float(last))
        for digest, (count, one, two, last) in found.items()
    }
    return _LabelFile(index, states, table.column("matched").combine_chunks().to_numpy(zero_copy_only=False).copy())


def _write(folder: Path, file: _LabelFile) -> None:
    states = {
        digest: (s.count, str(s.one), str(s.two), s.last_at if s.count else None) for digest, s in file.states.items()
    }
    facts = {"digest": file.index.digest, "states": states}
    write_table(folder / f"{file.index.name}.matches", pa.table({"matched": pa.array(file.matched)}), facts)
