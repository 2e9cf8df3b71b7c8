"""Encode a traffic split as one ASCII word, and decode it."""

import base64
import binascii
import json

from surefoot.core.domain import Split
from surefoot.core.traffic_split_json import decode_traffic_split, encode_traffic_split


def encode_split_text(split: Split) -> str:
    """Give a split as base64 of its JSON."""
    text = json.dumps(encode_traffic_split(split), separators=(",", ":"))
    return base64.b64encode(text.encode()).decode("ascii")


def decode_split_text(text: str | None) -> Split | None:
    """Read a split; None where there is no text, or another hand has written something else there."""
    try:
        return decode_traffic_split(json.loads(base64.b64decode(text or "", validate=True)))
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
