"""Define a span of a trace, independent of how it is sent, and derive the ids of spans and traces."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

AttributeValue = str | int | float | bool


class SpanKind(StrEnum):
    """Whether a span answers a caller or is work within the process."""

    INTERNAL = "internal"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something that happened at one moment of a span.

    Attributes:
        name: What happened.
        at: When [Unix seconds].
        attributes: What else is known of it.
    """

    name: str
    at: float
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of work, as a part of a trace.

    Attributes:
        trace_id: Id of the trace, 16 bytes.
        span_id: Id of the span, 8 bytes.
        parent_id: Id of the span that it is a part of, 8 bytes; empty for the first of a trace.
        name: What was done.
        began: When it began [Unix seconds].
        ended: When it ended [Unix seconds].
        kind: Whether it answers a caller.
        attributes: What else is known of it.
        events: What happened meanwhile.
        error: Why it failed; empty where it did not.
        trace_state: What other tracing systems say of the trace, as it was received.
        dropped_events: Events that were left out [count].
    """

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    name: str
    began: float
    ended: float
    kind: SpanKind = SpanKind.INTERNAL
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    events: tuple[SpanEvent, ...] = ()
    error: str = ""
    trace_state: str = ""
    dropped_events: int = 0


def derive_id_bytes(text: str, size: int) -> bytes:
    """An id that is the same whenever it is derived from the same text.

    Args:
        text: What it is derived from.
        size: How long it is [bytes].
    """
    return hashlib.sha256(text.encode()).digest()[:size]
