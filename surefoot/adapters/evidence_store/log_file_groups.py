"""Group prediction-log files that share requests, to count each group once."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from surefoot.adapters.evidence_store.file_group_log import FileGroupLog, LogFilesReplacedError
from surefoot.adapters.evidence_store.label_fingerprints import LabelFingerprint, LabelIndex
from surefoot.adapters.evidence_store.request_key_index import (
    RequestKeyIndex,
    find_files_sharing_keys,
    index_growing_files,
    read_request_key_index,
    remove_stale_indexes,
)
from surefoot.adapters.predictions.log_files import LABEL_FILES, PREDICTION_FILES
from surefoot.adapters.predictions.prediction_log import PredictionLog


@dataclass(frozen=True, slots=True)
class LogFileGroup:
    """A group of prediction-log files whose requests are in no file outside the group.

    Attributes:
        parts: Closed files of requests.
        segments: Files of requests that still grow; empty but for the tail.
        labels: State of all labels of the parts.
        log: The file group as a log of its own.
        first_at: Time of the earliest request in the parts [Unix seconds].
        last_at: Time of the latest request in the parts [Unix seconds].
        rows: Its records of requests, those outside the window and repeated ones among them [count].
    """

    parts: tuple[RequestKeyIndex, ...]
    segments: tuple[Path, ...]
    labels: LabelFingerprint
    log: FileGroupLog
    first_at: float
    last_at: float
    rows: int = 0

    @property
    def file_names(self) -> str:
        """Names of its closed files, for people."""
        return " and ".join(part.name for part in self.parts)

    @property
    def name(self) -> str:
        """What its answers are kept under; empty for the tail."""
        digests = sorted(part.digest for part in self.parts)
        return "" if self.segments else hashlib.sha256(" ".join(digests).encode()).hexdigest()

    @property
    def table(self) -> Path | None:
        """Its one file of requests; None where there are several, or some that grow."""
        return self.log.single_table if len(self.parts) == 1 and not self.segments else None

    def lies_within(self, since: float, until: float) -> bool:
        """Whether it is closed, and all its requests are of a time."""
        return not self.segments and since < self.first_at and self.last_at <= until


@dataclass(frozen=True, slots=True)
class LogFileGroups:
    """All file groups of a prediction log that have requests in a time window.

    Attributes:
        file_groups: Those that have requests of the window.
        names: Names of all closed file groups that the log has now, in any window.
        unknown: Labels in the window that belong to no request of the log [count].
    """

    file_groups: tuple[LogFileGroup, ...]
    names: tuple[str, ...]
    unknown: int


def group_log_files(log: PredictionLog, model: str, since: float, until: float, indexes: Path) -> LogFileGroups:
    """Group the files of a prediction log that have requests in a time window.

    Args:
        log: The log.
        model: Registered model.
        since: Beginning of the window, not included [Unix seconds].
        until: End of the window [Unix seconds].
        indexes: Folder of the key indexes.

    Raises:
        EvidenceUnavailable: A closed file has changed, or something cannot be read.
        LogFilesReplacedError: A compaction has replaced files meanwhile.
    """
    try:
        return _cut(log, model, since, until, indexes)
    except FileNotFoundError as error:
        raise LogFilesReplacedError(f"{error.filename} of the log of {model} is in another file by now") from error


def _cut(log: PredictionLog, model: str, since: float, until: float, indexes: Path) -> LogFileGroups:
    segments, tables = log.current_files(model, PREDICTION_FILES)
    label_segments, label_tables = log.current_files(model, LABEL_FILES)
    parts = [read_request_key_index(indexes, path, PREDICTION_FILES) for path in tables]
    closed = [read_request_key_index(indexes, path, LABEL_FILES) for path in label_tables]
    tail, growing = (
        index_growing_files(some, kind) for some, kind in ((segments, PREDICTION_FILES), (label_segments, LABEL_FILES))
    )
    remove_stale_indexes(indexes, [path.name for path in (*tables, *label_tables)])
    known = LabelIndex(indexes, parts, closed, growing)
    paths = {path.name: path for path in (*tables, *label_tables)}
    inside = [part for part in parts if part.last_at > since and part.first_at <= until]
    with tail.open_columns() as columns:
        keys = columns["key"]
    made = []
    for group in _groups(inside, find_files_sharing_keys(indexes, parts), tail, keys):
        some = tuple(one for one in group if one.name)
        own = tuple(segments) if len(some) < len(group) else ()
        names = sorted({name for part in some for name in known.files[part.digest]})
        if own:
            names = sorted({*names, *known.closed_label_files_of(keys)})
        file_group = FileGroupLog(
            log.root, (own, [paths[part.name] for part in some]), (label_segments, [paths[name] for name in names])
        )
        state = sum((known.fingerprint(part.digest) for part in some), LabelFingerprint())
        first, last = min(p.first_at for p in group), max(p.last_at for p in group)
        made.append(LogFileGroup(some, own, state, file_group, first, last, sum(p.size for p in group)))
    made.sort(key=lambda file_group: file_group.last_at)
    alone = {hashlib.sha256(part.digest.encode()).hexdigest() for part in parts}
    current = tuple(sorted(alone | {file_group.name for file_group in made}))
    return LogFileGroups(tuple(made), current, known.count_labels_of_no_request(since, until, tail))


def _groups(
    parts: Sequence[RequestKeyIndex],
    shared: Collection[tuple[str, str]],
    tail: RequestKeyIndex,
    keys: NDArray[np.uint64],
) -> list[list[RequestKeyIndex]]:
    """Files that share a request, in whatever way, together; the others each alone.

    Args:
        parts: Closed files.
        shared: Pairs of them that share one, by name.
        tail: Files that still grow, as one.
        keys: Its keys.
    """
    indexes = [tail, *parts] if tail.size else [*parts]
    places = {index.name: place for place, index in enumerate(indexes)}
    pairs = [(places[one], places[other]) for one, other in shared if one in places and other in places]
    pairs += [(0, places[part.name]) for part in parts if part.contains(keys).any()]
    whose = np.arange(len(indexes))
    for one, other in pairs:
        whose[whose == whose[other]] = whose[one]
    return [[indexes[int(place)] for place in np.flatnonzero(whose == group)] for group in np.unique(whose)]
