"""Encode evidence as JSON text for the journal, and decode it."""

import base64
import binascii
import zlib
from typing import cast, get_args

import rfc8785

from surefoot.core.errors import InvariantBroken
from surefoot.core.journal.chain import canonical_bytes
from surefoot.core.journal.codec import JsonCodec, get_journal_name
from surefoot.core.judging.evidence import Evidence, ServedCounts

EVIDENCE_TYPES: dict[str, type] = {get_journal_name(kind): kind for kind in get_args(Evidence)}


_EVIDENCE_CODEC = JsonCodec({Evidence: ("kind", EVIDENCE_TYPES), ServedCounts: ("kind", EVIDENCE_TYPES)})


def encode_evidence(evidence: Evidence) -> str:
    """Counters as one text for the journal; empty when they hold what is no number, and was judged an ERROR."""
    try:
        body = canonical_bytes(_EVIDENCE_CODEC.encode(evidence))
    except (InvariantBroken, rfc8785.CanonicalizationError):
        return ""
    return base64.b85encode(zlib.compress(body, 9)).decode()


def decode_evidence(text: str) -> Evidence:
    """Counters from the journal.

    Raises:
        InvariantBroken: The text is not what `pack` makes.
    """
    import json  # noqa: PLC0415 - only who verifies reads it back

    try:
        body = json.loads(zlib.decompress(base64.b85decode(text)))
        return cast("Evidence", _EVIDENCE_CODEC.decode(Evidence, body))
    except (ValueError, LookupError, TypeError, zlib.error, binascii.Error) as error:
        raise InvariantBroken(f"evidence in the journal cannot be read: {error}") from error
