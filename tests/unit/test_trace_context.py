"""The header `traceparent` is read as W3C Trace Context says, and what is not valid is as if it were not there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.core.telemetry.trace_context import format_trace_context, parse_trace_context
from surefoot.telemetry.otlp_sender import parse_headers

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (GOOD, True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),  # a flag of a later version beside it
        (f"cc-{TRACE}-{SPAN}-01", True),  # a later version is read as far as it is known
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", True),
        (f" {GOOD}\t", True),
    ],
)
def test_a_valid_header_is_read(header: str, sampled: bool) -> None:
    """Trace, span and the caller's decision are read, of this and of later versions."""
    found = parse_trace_context([header])
    assert found is not None
    assert (found.trace_id.hex(), found.span_id.hex(), found.sampled) == (TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [GOOD, GOOD],
        [""],
        [f"ff-{TRACE}-{SPAN}-01"],
        [f"{GOOD}-more"],
        [f"cc-{TRACE}-{SPAN}-01.what"],
        [f"00-{'0' * 32}-{SPAN}-01"],
        [f"00-{TRACE}-{'0' * 16}-01"],
        [f"00-{TRACE.upper()}-{SPAN}-01"],
        [f"00-{TRACE[:-1]}-{SPAN}-01"],
        [f"00-{TRACE}-{SPAN}-1"],
        [f"00-{TRACE}-{SPAN}"],
        [f"00-{TRACE}-{SPAN}-0x"],
    ],
)
def test_what_is_not_valid_is_not_there(headers: list[str]) -> None:
    """A header that W3C Trace Context does not allow, or that comes twice, names no trace."""
    assert parse_trace_context(headers) is None


def test_the_state_of_other_systems_is_kept() -> None:
    """`tracestate` is joined from its headers in order; one that is too long is left out."""
    found = parse_trace_context([GOOD], ["a=1", " b=2 ", ""])
    assert found is not None
    assert found.state == "a=1,b=2"
    long = parse_trace_context([GOOD], ["a=" + "x" * 600])
    assert long is not None
    assert long.state == ""


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8), st.booleans())
def test_what_is_written_is_read(trace: bytes, span: bytes, sampled: bool) -> None:
    """A header that we write names the same trace when it is read, unless its ids are nothing but zeros."""
    found = parse_trace_context([format_trace_context(trace, span, sampled=sampled)])
    assert (found is None) == (not any(trace) or not any(span))
    if found is not None:
        assert (found.trace_id, found.span_id, found.sampled) == (trace, span, sampled)


def test_headers_of_the_collector_are_read_as_opentelemetry_writes_them() -> None:
    """Pairs are separated by commas and percent-encoded; what is no pair is left out."""
    assert parse_headers("api-key=a%3Db, x = y ,nothing,=z,") == {"api-key": "a=b", "x": "y"}
