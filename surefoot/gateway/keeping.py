"""What of a request's features is written into the log, as the owner's policy says."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from surefoot.core.model import Kept
from surefoot.core.traffic import bucket

_DIGEST_BYTES = 12


class Keeping:
    """Prepares rows for the log.

    A digest is keyed with the installation's secret: equal values stay equal, so slices and joins work, but without the
    key nobody finds a value by trying all of them.
    """

    def __init__(self, kept: Kept, secret: str, unit: str | None) -> None:
        """Know what is kept.

        Args:
            kept: What the policy says.
            secret: Key of the digests.
            unit: Column that sticks to one arm; it stands in the record by itself, and is treated like its column.
        """
        self._kept = kept
        self._key = hashlib.sha256(f"log {secret}".encode()).digest()
        self._hashed, self._dropped = frozenset(kept.hashed), frozenset(kept.dropped)
        self._hides_unit = unit in self._hashed | self._dropped

    def sampled(self, request: str) -> bool:
        """Whether the features of a request are kept: a hash of its id, the same for all its rows and both arms."""
        return self._kept.share >= 100.0 or bucket("features", request) < self._kept.share  # noqa: PLR2004 - percent

    def row(self, features: Mapping[Any, object]) -> dict[Any, object]:
        """One row without what is dropped, and with digests for what is hashed."""
        return {
            name: self.digest(value) if name in self._hashed and value is not None else value
            for name, value in features.items()
            if name not in self._dropped
        }

    def unit(self, value: str | None) -> str | None:
        """The unit as it is written; assignment to an arm never sees the digest."""
        return self.digest(value) if self._hides_unit and value is not None else value

    def digest(self, value: object) -> str:
        """Keyed digest of a JSON value, 24 hex digits."""
        said = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        return hashlib.blake2b(said, digest_size=_DIGEST_BYTES, key=self._key).hexdigest()


@lru_cache(64)
def keeping(kept: Kept, secret: str, unit: str | None) -> Keeping:
    """The same for every request of a model."""
    return Keeping(kept, secret, unit)
