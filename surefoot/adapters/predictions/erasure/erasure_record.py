"""Record the progress of an erasure in a file, so that an interrupted one can be finished."""

import os
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from surefoot.adapters.predictions.erasure.requests_to_erase import RequestsToErase
from surefoot.adapters.predictions.table_publication import sync_path
from surefoot.core.errors import EvidenceUnavailable

_SUFFIX = ".json"
ErasureProgressReport = Callable[[str, int, int], None]
"""Is told the place, how many of its files are done, and how many there are; it must not raise."""


@dataclass
class ErasureRecord:
    """What one erasure removes, and how far it has come.

    The file names the unit while the erasure is not done: it is removed at the end.

    Attributes:
        file: Where it is kept.
        erasure: Id of the erasure.
        unit: Keyed digest of what is erased.
        reason: Why.
        erased: The requests.
        held_by: Incidents that hold some of them.
        removed: Records that were removed of each file, by place and file [count].
        pseudonymised: Records in which names were replaced, likewise [count].
        replaced: New name of each file that had to get one, by old name; empty where nothing was left of it.
        digests: SHA-256 of the files that were written again, by name.
    """

    file: Path
    erasure: str
    unit: str
    reason: str
    erased: RequestsToErase
    held_by: tuple[str, ...] = ()
    removed: dict[str, dict[str, int]] = field(default_factory=dict)
    pseudonymised: dict[str, dict[str, int]] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)

    def count(self, place: str, file: str, removed: int, pseudonymised: int = 0) -> None:
        """Note what is about to be removed of a file; when a killed run did some of it, the larger count is right."""
        for counts, found in ((self.removed, removed), (self.pseudonymised, pseudonymised)):
            own = counts.setdefault(place, {})
            own[file] = max(own.get(file, 0), found)
        self.save()

    def new_name(self, old: str, make: Callable[[], str]) -> str:
        """The name under which a file is written again; noted before that is done, and the same in every run."""
        if old not in self.replaced:
            self.replaced[old] = make()
            self.save()
        return self.replaced[old]

    def settle(self, name: str, digest: str) -> None:
        """Note the SHA-256 of a file that was written again."""
        self.digests[name] = digest
        self.save()

    def totals(self) -> tuple[dict[str, int], dict[str, int]]:
        """What was removed, and what got pseudonyms, by place [count]."""
        return _totals(self.removed), _totals(self.pseudonymised)

    def save(self) -> None:
        """Write the record, as private as the log.

        Raises:
            EvidenceUnavailable: The disk is full, or refuses something else.
        """
        plain = {
            "erasure": self.erasure,
            "unit": self.unit,
            "reason": self.reason,
            "spellings": self.erased.spellings,
            "columns": self.erased.columns,
            "requests": dict(self.erased.requests),
            "pseudonym": self.erased.pseudonym,
            "values": self.erased.values,
            "held_by": self.held_by,
            "removed": self.removed,
            "pseudonymised": self.pseudonymised,
            "replaced": self.replaced,
            "digests": self.digests,
        }
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            fresh = self.file.with_name(f".{secrets.token_hex(8)}.tmp")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(orjson.dumps(plain))
                stream.flush()
                os.fsync(stream.fileno())
            fresh.replace(self.file)
            sync_path(self.file.parent)
        except OSError as error:
            raise EvidenceUnavailable(f"the record of the erasure cannot be written: {error}") from error


def _totals(counts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    made = Counter({place: sum(files.values()) for place, files in counts.items()})
    return {place: count for place, count in made.items() if count}


def read_unfinished_records(folder: Path) -> list[ErasureRecord]:
    """Read the records of erasures that are not done, oldest first.

    Raises:
        EvidenceUnavailable: One of them cannot be read.
    """
    found = []
    for file in sorted(folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime_ns) if folder.is_dir() else ():
        try:
            found.append(_read(file, orjson.loads(file.read_bytes())))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EvidenceUnavailable(f"the record of an erasure, {file}, cannot be read: {error}") from error
    return found


def _read(file: Path, plain: Any) -> ErasureRecord:
    erased = RequestsToErase(
        tuple(plain["spellings"]),
        tuple(plain["columns"]),
        dict(plain["requests"]),
        str(plain["pseudonym"]),
        tuple(plain["values"]),
    )
    names = ("removed", "pseudonymised", "replaced", "digests")
    return ErasureRecord(
        file,
        str(plain["erasure"]),
        str(plain["unit"]),
        str(plain["reason"]),
        erased,
        tuple(plain["held_by"]),
        *(dict(plain[name]) for name in names),
    )


def erasure_record_path(folder: Path, erasure: str) -> Path:
    """Where the record of an erasure is kept."""
    return folder / f"{erasure}{_SUFFIX}"
