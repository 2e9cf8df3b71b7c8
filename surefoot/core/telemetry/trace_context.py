"""Read and write the W3C Trace Context header, which says to which trace a request belongs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_INVALID_VERSION = "ff"
_FIRST_VERSION = "00"
_LONGEST_STATE = 512
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The trace that a request belongs to.

    Attributes:
        trace_id: Id of the trace, 16 bytes.
        span_id: Id of the caller's span, 8 bytes.
        sampled: Whether the caller records the trace.
        state: What other tracing systems say of it; empty where they say nothing.
    """

    trace_id: bytes
    span_id: bytes
    sampled: bool
    state: str = ""


def parse_trace_context(traceparents: Sequence[str], tracestates: Sequence[str] = ()) -> TraceContext | None:
    """Read the headers `traceparent` and `tracestate`; None where there is none that is valid.

    Args:
        traceparents: Every header `traceparent` of the request.
        tracestates: Every header `tracestate`, in order.

    Source: W3C Trace Context, https://www.w3.org/TR/trace-context/.
    """
    if len(traceparents) != 1:
        return None
    found = _TRACEPARENT.fullmatch(traceparents[0].strip())
    if found is None:
        return None
    version, trace, span, flags, rest = found.groups()
    # A later version may say more after the flags; the first one may not.
    if version == _INVALID_VERSION or (version == _FIRST_VERSION and rest):
        return None
    trace_id, span_id = bytes.fromhex(trace), bytes.fromhex(span)
    if not any(trace_id) or not any(span_id):
        return None
    state = ",".join(one.strip() for one in tracestates if one.strip())
    sampled = bool(int(flags, 16) & _SAMPLED)
    return TraceContext(trace_id, span_id, sampled, state if len(state) <= _LONGEST_STATE else "")


def format_trace_context(trace_id: bytes, span_id: bytes, *, sampled: bool) -> str:
    """Write a trace and a span as the value of a header.

    Args:
        trace_id: Id of the trace, 16 bytes.
        span_id: Id of the span, 8 bytes.
        sampled: Whether the trace is recorded.
    """
    return f"00-{trace_id.hex()}-{span_id.hex()}-{int(sampled):02x}"
