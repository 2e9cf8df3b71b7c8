"""What of a request's features is written into the log, as the owner's policy says."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from surefoot.core.assignment import assignment_bucket
from surefoot.core.canonical_text import canonical_text
from surefoot.core.domain import LogPolicy
from surefoot.models.contract import Names

_DIGEST_BYTES = 12


class LogRedactor:
    """Prepares rows for the log.

    A digest is keyed with the installation's secret: equal values stay equal, so slices and joins work, but without the
    key nobody finds a value by trying all of them.
    """

    def __init__(self, kept: LogPolicy, secret: str, unit: str | None) -> None:
        """Know what is kept.

        Args:
            kept: What the policy says.
            secret: Key of the digests.
            unit: Column that sticks to one arm; it stands in the record by itself, and is treated like its column.
        """
        self._kept = kept
        self._key = hashlib.sha256(f"log {secret}".encode()).digest()
        self._hashed, self._dropped = _spelled(kept.hashed), _spelled(kept.dropped)
        self._hidden = frozenset(kept.hashed + kept.dropped)
        self._hides_unit = unit in self._hidden

    def sampled(self, request: str) -> bool:
        """Whether the features of a request are kept: a hash of its id, the same for all its rows and both arms."""
        return self._kept.share >= 100.0 or assignment_bucket("features", request) < self._kept.share  # noqa: PLR2004 - percent

    def withheld(self, request: str, names: Names) -> str:
        """Why nothing of a request's features is written; empty when they are."""
        if not self.sampled(request):
            return "not kept"
        return "" if self._tells(names) else "no names"

    def _tells(self, names: Names) -> bool:
        """Whether names say which columns are to be hidden.

        Rows without names say nothing. Where a column has a number for its name, as in a table without a header and in
        a tensor of many columns, it may be any column, unless all that are to be hidden are named.
        """
        if not self._hidden:
            return True
        if names is None:
            return False
        if all(column in names for column in self._hidden) or self._hidden.issubset(map(str, names)):
            return True
        return all(isinstance(name, str) and not name.isdecimal() for name in names)

    def row(self, features: Mapping[Any, object]) -> dict[Any, object]:
        """One row without what is dropped, and with digests for what is hashed."""
        return {
            name: self.digest(value) if name in self._hashed and not _blank(value) else value
            for name, value in features.items()
            if name not in self._dropped
        }

    def unit(self, value: str | None) -> str | None:
        """The unit as it is written; assignment to an arm never sees the digest."""
        return self.digest(value) if self._hides_unit and value is not None else value

    def digest(self, value: object) -> str:
        """Keyed digest of a JSON value, 24 hex digits, however deeply it is nested; equal values have one digest."""
        try:
            if not isinstance(value, list | dict):
                value = canonical_text(value)
            said = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError:  # what can be read may be nested too deeply to be written
            said = _said(value)
        return hashlib.blake2b(said, digest_size=_DIGEST_BYTES, key=self._key).hexdigest()


def _blank(value: object) -> bool:
    """Whether a value says nothing, so that there is nothing to hide."""
    return value is None or (isinstance(value, str) and not value.strip())


def _spelled(columns: Iterable[str]) -> frozenset[object]:
    """Columns by their names, and by the numbers that the log writes as these names."""
    return frozenset(columns) | {int(column) for column in columns if column.isdecimal()}


def _said(value: object) -> bytes:
    """What a JSON value is, as bytes that are the same for equal values only; it needs no more stack for a deep one."""
    parts: list[bytes] = []
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            parts.append(b"{%d" % len(item))
            for key in sorted(item):
                left += (item[key], key)
        elif isinstance(item, list):
            parts.append(b"[%d" % len(item))
            left += item
        else:
            parts.append(orjson.dumps(item))
    return b",".join(parts)
