"""Redact request rows before they are logged, as the model's policy says."""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from surefoot.column_encryption import ColumnEncryptor, KeyLocation
from surefoot.core.assignment import compute_assignment_bucket
from surefoot.core.canonical_text import canonical_text
from surefoot.core.domain import LogPolicy
from surefoot.models.model_protocols import ColumnNames

_DIGEST_BYTES = 12
_NO_KEY = "no key"
"""Why features are left out where their columns cannot be encrypted."""
_log = logging.getLogger(__name__)


class LogRedactor:
    """Prepares rows for the log.

    A digest is keyed with the installation's secret: equal values stay equal, so slices and SQL joins work, but without
    the key no reader finds a value by trying all of them.
    """

    def __init__(
        self, kept: LogPolicy, secret: str, unit: str | None, encryptor: ColumnEncryptor | None = None
    ) -> None:
        """Follow a policy.

        Args:
            kept: What the policy says.
            secret: Key of the digests.
            unit: Column that sticks to one arm; it stands in the record by itself, and is treated like its column.
            encryptor: Encrypts the columns that the policy names; None where it names none.
        """
        self._kept = kept
        self._key = hashlib.sha256(f"log {secret}".encode()).digest()
        self._hashed, self._dropped = _column_spellings(kept.hashed), _column_spellings(kept.dropped)
        self._encryptor, self._encrypted = encryptor, _column_spellings(kept.encrypted)
        self._told = ""
        self._hashed_or_encrypted = self._hashed | self._encrypted
        self._hidden = frozenset(kept.hashed + kept.dropped + kept.encrypted)
        self._hides_unit = unit in self._hidden

    def keeps_features(self, request: str) -> bool:
        """Whether the features of a request are kept: a hash of its id, the same for all its rows and both versions."""
        return self._kept.share >= 100.0 or compute_assignment_bucket("features", request) < self._kept.share  # noqa: PLR2004 - percent

    def omission_reason(self, request: str, names: ColumnNames) -> str:
        """Why nothing of a request's features is written; empty when they are."""
        if not self.keeps_features(request):
            return "not kept"
        if self._encrypted and (why := _NO_KEY if self._encryptor is None else self._encryptor.refresh()):
            if why != self._told:
                _log.critical("features of requests are NOT LOGGED, for their columns cannot be encrypted: %s", why)
            self._told = why
            return _NO_KEY
        self._told = ""
        return "" if self._names_suffice(names) else "no names"

    def _names_suffice(self, names: ColumnNames) -> bool:
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

    def redact_row(self, features: Mapping[Any, object]) -> dict[Any, object]:
        """One row without what is dropped, and with digests for what is hashed."""
        return {
            name: self._hidden_value(name, value) if name in self._hashed_or_encrypted and not _blank(value) else value
            for name, value in features.items()
            if name not in self._dropped
        }

    def _hidden_value(self, name: Any, value: object) -> object:
        """A digest, or what only the keys of the policy open."""
        if name in self._hashed or self._encryptor is None:
            return self.keyed_digest(value)
        return self._encryptor.encrypt(str(name), value)

    def logged_error(self, error: str) -> str:
        """The error as it is written: without what a model said where it may quote an encrypted value."""
        return error.partition(":")[0] if self._encrypted else error

    def redact_unit(self, value: str | None) -> str | None:
        """The unit as it is written; assignment to an arm never sees the digest."""
        return self.keyed_digest(value) if self._hides_unit and value is not None else value

    def keyed_digest(self, value: object) -> str:
        """Keyed digest of a JSON value, 24 hex digits, however deeply it is nested; equal values have one digest."""
        try:
            if not isinstance(value, list | dict):
                value = canonical_text(value)
            encoded = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError:  # what can be read may be nested too deeply to be written
            encoded = _encode_deep(value)
        return hashlib.blake2b(encoded, digest_size=_DIGEST_BYTES, key=self._key).hexdigest()


def build_log_redactor(model: str, kept: LogPolicy, secret: str, unit: str | None, log: Path) -> LogRedactor | None:
    """Make the redactor of a model's rows; None where rows are logged whole.

    Args:
        model: Registered model.
        kept: What the policy says.
        secret: Key of the digests.
        unit: Column that sticks to one arm.
        log: Folder of all prediction logs.
    """
    if kept == LogPolicy():
        return None
    keys = KeyLocation(kept.key_variable, kept.key_file)
    encryptor = ColumnEncryptor(model, kept.encrypted, keys, log) if kept.encrypted else None
    return LogRedactor(kept, secret, unit, encryptor)


def _blank(value: object) -> bool:
    """Whether a value is empty, so that there is nothing to hide."""
    return value is None or (isinstance(value, str) and not value.strip())


def _column_spellings(columns: Iterable[str]) -> frozenset[object]:
    """Give columns by their names, and by the numbers that the log writes as these names."""
    return frozenset(columns) | {int(column) for column in columns if column.isdecimal()}


def _encode_deep(value: object) -> bytes:
    """Encode a JSON value as bytes that are the same for equal values only, without recursion."""
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
