"""Hash journal entries into a chain in which a later edit is detected."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import rfc8785

from surefoot.core.errors import InvariantBroken, JournalTampered

GENESIS_HASH = "0" * 64


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of the journal.

    Attributes:
        model: Registered model that the entry speaks of.
        seq: One-based position in the model's chain.
        at: Time of the rollout's clock [Unix seconds].
        wall: Time of the host's clock [Unix seconds]; differs from `at` when time is replayed.
        actor: Who or what caused it, for example "flow:promote" or "cli:ada".
        kind: Name of the event.
        data: Fields of the event; JSON values only.
        previous: Hash of the entry before, or 64 zeros [hex].
        hash: SHA-256 of the canonical bytes of all of the above [hex].
    """

    model: str
    seq: int
    at: float
    wall: float
    actor: str
    kind: str
    data: Mapping[str, object]
    previous: str
    hash: str


def canonical_bytes(value: object) -> bytes:
    """Encode JSON values as RFC 8785 canonical bytes.

    Raises:
        InvariantBroken: The value holds NaN, an infinity, or something that is not JSON.

    Source: RFC 8785, JSON Canonicalization Scheme.
    """
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]
    except (rfc8785.CanonicalizationError, TypeError, RecursionError, UnicodeError) as error:
        msg = f"not a JSON value that can be journalled: {error}"
        raise InvariantBroken(msg) from error


def canonical_digest(value: object) -> str:
    """SHA-256 of the canonical bytes of a JSON value, as "sha256:" and hex."""
    return "sha256:" + hashlib.sha256(canonical_bytes(value)).hexdigest()


def seal_entry(
    model: str, seq: int, at: float, wall: float, actor: str, kind: str, data: Mapping[str, object], previous: str
) -> Entry:
    """Build an entry whose hash covers its content and the hash of the entry before."""
    body = {
        "actor": actor,
        "at": at,
        "data": data,
        "kind": kind,
        "model": model,
        "previous": previous,
        "seq": seq,
        "wall": wall,
    }
    return Entry(
        model=model,
        seq=seq,
        at=at,
        wall=wall,
        actor=actor,
        kind=kind,
        data=data,
        previous=previous,
        hash=hashlib.sha256(canonical_bytes(body)).hexdigest(),
    )


def check_chain(entries: Iterable[Entry]) -> int:
    """Verify a whole chain: compute each hash again.

    Args:
        entries: All entries of one model, in order of `seq`.

    Returns:
        How many entries were checked [count].

    Raises:
        JournalTampered: Names the first entry that is missing, moved or altered.
    """
    previous, count = GENESIS_HASH, 0
    for count, entry in enumerate(entries, start=1):
        if entry.seq != count:
            msg = f"journal of {entry.model}: entry {count} is missing (found {entry.seq})"
            raise JournalTampered(msg)
        if entry.previous != previous:
            msg = f"journal of {entry.model}: entry {count} does not follow the hash of entry {count - 1}"
            raise JournalTampered(msg)
        sealed = seal_entry(
            model=entry.model,
            seq=entry.seq,
            at=entry.at,
            wall=entry.wall,
            actor=entry.actor,
            kind=entry.kind,
            data=entry.data,
            previous=previous,
        )
        if sealed.hash != entry.hash:
            msg = f"journal of {entry.model}: entry {count} ({entry.kind}) does not hash to what it says"
            raise JournalTampered(msg)
        previous = entry.hash
    return count
