"""Traces of requests as a file in OpenTelemetry's JSON form."""

import json
from pathlib import Path

import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from surefoot.adapters.served_answers.triage.trace_file import encode_traces, read_traces
from surefoot.core.errors import EvidenceUnavailable
from surefoot.core.incidents.request_trace import RequestTrace, TracedStage, VersionTrace

TEXTS = st.text(max_size=20)
STAGES = st.builds(TracedStage, TEXTS, TEXTS, st.integers(0, 10_000).map(float), st.booleans())
VERSIONS = st.lists(
    st.builds(VersionTrace, TEXTS, st.lists(STAGES, max_size=4).map(tuple)), max_size=3, unique_by=lambda v: v.version
)
TRACES = st.lists(
    st.builds(
        RequestTrace, TEXTS, st.integers(0, 9), st.integers(0, 2_000_000_000).map(float), TEXTS, VERSIONS.map(tuple)
    ),
    max_size=3,
    unique_by=lambda one: (one.request, one.row),
)


@given(TRACES)
def test_what_is_written_is_read_and_is_what_the_protocol_says(
    tmp_path_factory: pytest.TempPathFactory, traces: list[RequestTrace]
) -> None:
    """Law: reading gives back what was written, whatever the texts are, and every field is one of the protocol."""
    file = tmp_path_factory.mktemp("traces") / "one.json"
    encoded = encode_traces("flights", traces)
    file.write_bytes(encoded)
    assert list(read_traces(file)) == traces
    plain = json.loads(encoded)
    ParseDict(plain, TracesData())
    spans = plain["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert len({(span["traceId"], span["spanId"]) for span in spans}) == len(spans)
    assert all(len(span["traceId"]) == 32 and len(span["spanId"]) == 16 for span in spans)


def test_no_file_is_no_trace_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    """An incident without traces has none; a file that is none of ours is refused with its path."""
    assert read_traces(tmp_path / "none.json") == ()
    file = tmp_path / "damaged.json"
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(EvidenceUnavailable, match="damaged"):
        read_traces(file)


def test_stages_of_two_versions_stand_beside_each_other() -> None:
    """A stage that only one version has is there once, with nothing for the other."""
    one = VersionTrace("2", (TracedStage("received", "{}", 0.0), TracedStage("after step scale", "[1]", 1.0)))
    other = VersionTrace("1", (TracedStage("received", "{}", 0.0),))
    rows = RequestTrace("q", 0, 1.0, "3", (one, other)).stage_rows
    assert [(name, [stage and stage.text for stage in stages]) for name, stages in rows] == [
        ("received", ["{}", "{}"]),
        ("after step scale", ["[1]", None]),
    ]
