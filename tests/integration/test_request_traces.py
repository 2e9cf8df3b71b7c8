"""Sampled requests reach an OpenTelemetry collector as spans, and no collector slows or fails a request."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.semconv._incubating.attributes import feature_flag_attributes as flag

from surefoot.core.telemetry.span import Span
from surefoot.telemetry.otlp_sender import SpanSender
from surefoot.telemetry.span_queue import SpanCounts, SpanQueue
from tests import local_http
from tests.integration.gateway_harness import RAISING, ROW, Gateway
from tests.integration.gateway_harness import listening as gateway_listening
from tests.integration.receivers import Receiver
from tests.integration.test_journal_telemetry import attributes, collector, spans_of
from tests.integration.waiting import wait_for

if TYPE_CHECKING:
    from tests.integration.gateway_process import Models

__all__ = ["collector"]
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STAGES = ["input", "preprocessing", "model", "postprocessing"]


@pytest.fixture
def traced(tmp_path: Path, models: "Models", collector: Receiver) -> Iterator[Gateway]:
    """A gateway that traces what callers ask for, and nothing by chance."""
    url = f"http://127.0.0.1:{collector.port}"
    with gateway_listening(tmp_path / "gateway", models, otlp=url, traced_share=0.0) as one:
        yield one


def roots(collector: Receiver) -> list[trace_pb2.Span]:
    """The span of each request that came, without those of its stages."""
    return [span for span in spans_of(collector) if span.kind == trace_pb2.Span.SPAN_KIND_SERVER]


def test_a_sampled_request_is_a_part_of_its_callers_trace(traced: Gateway, collector: Receiver) -> None:
    """Its span is below the caller's, with its stages in order, and says which arm of which split has answered."""
    traced.shift(100, generation=7)
    body = {"dataframe_records": [{**ROW, "unit": "secret-unit"}]}
    answer = traced.post(body, traceparent=f"00-{TRACE}-{SPAN}-01", tracestate="ours=1", x_request_id="r-1")
    assert answer.status_code == 200
    wait_for(lambda: bool(roots(collector)))
    (whole,) = roots(collector)
    assert (whole.trace_id.hex(), whole.parent_span_id.hex(), whole.trace_state) == (TRACE, SPAN, "ours=1")
    assert answer.headers["traceresponse"] == f"00-{TRACE}-{whole.span_id.hex()}-01"
    parts = [span for span in spans_of(collector) if span.parent_span_id == whole.span_id]
    assert [span.name for span in parts] == STAGES
    assert {span.trace_id for span in parts} == {whole.trace_id}
    times = [(span.start_time_unix_nano, span.end_time_unix_nano) for span in parts]
    assert times[0][0] == whole.start_time_unix_nano
    assert times[-1][1] == whole.end_time_unix_nano
    assert all(one[1] == other[0] for one, other in itertools.pairwise(times))
    told = attributes(whole)
    assert (told["surefoot.model"], told["surefoot.version"], told["surefoot.request"]) == ("flights", "2", "r-1")
    (evaluated,) = whole.events
    assert evaluated.name == "feature_flag.evaluation"
    said = {one.key: one.value.string_value for one in evaluated.attributes}
    assert said == {
        flag.FEATURE_FLAG_KEY: "flights",
        flag.FEATURE_FLAG_PROVIDER_NAME: "surefoot",
        flag.FEATURE_FLAG_RESULT_VARIANT: "candidate",
        flag.FEATURE_FLAG_RESULT_REASON: flag.FeatureFlagResultReasonValues.SPLIT.value,
        flag.FEATURE_FLAG_VERSION: "7",
        flag.FEATURE_FLAG_SET_ID: "rollout-7",
    }
    assert b"secret-unit" not in b"".join(one.SerializeToString() for one in collector.bodies)


def test_what_its_caller_does_not_record_is_not_sent(traced: Gateway, collector: Receiver) -> None:
    """A trace that its caller does not sample is named in the answer and not sent; without one there is no header."""
    traced.shift(0, None, generation=1)
    body = {"dataframe_records": [ROW]}
    unsampled = traced.post(body, traceparent=f"00-{TRACE}-{SPAN}-00")
    assert unsampled.headers["traceresponse"].startswith(f"00-{TRACE}-")
    assert unsampled.headers["traceresponse"].endswith("-00")
    for headers in ({}, {"traceparent": "not a trace"}):
        assert "traceresponse" not in traced.post(body, **headers).headers
    traced.post(body, traceparent=f"00-{TRACE}-{SPAN}-01")
    wait_for(lambda: bool(roots(collector)))
    assert len(roots(collector)) == 1


def test_tensors_and_refusals_are_traced_too(traced: Gateway, collector: Receiver) -> None:
    """A request of the Open Inference Protocol has the same stages; one without an answer has its status."""
    traced.shift(0, None, generation=1)
    inputs = [
        {"name": name, "shape": [1], "datatype": "FP64", "data": [value]}
        for name, value in ROW.items()
        if name != "unit"
    ]
    parent = f"00-{TRACE}-{SPAN}-01"
    assert traced.post({"inputs": inputs}, "/v2/models/flights/infer", traceparent=parent).status_code == 200
    assert traced.post({"no": "rows"}, traceparent=parent).status_code == 400
    traced.shift(0, None, champion=RAISING, generation=2)
    assert traced.post({"dataframe_records": [ROW]}, traceparent=parent).status_code == 400
    wait_for(lambda: len(roots(collector)) == 3)
    statuses = [attributes(span)["http.response.status_code"] for span in roots(collector)]
    assert statuses == [200, 400, 400]
    stages = [
        [span.name for span in spans_of(collector) if span.parent_span_id == whole.span_id]
        for whole in roots(collector)
    ]
    assert stages == [STAGES, ["failed"], ["input", "preprocessing", "failed"]]


def test_a_collector_that_hangs_or_is_gone_costs_no_answer(
    tmp_path: Path, models: "Models", collector: Receiver
) -> None:
    """While the collector holds the first spans, every request is answered; what has no room is counted as lost."""
    collector.status = 0
    url = f"http://127.0.0.1:{collector.port}"
    with gateway_listening(tmp_path / "gateway", models, otlp=url, traced_share=1.0) as gateway:
        gateway.shift(0, None, generation=1)
        for _ in range(20):
            assert gateway.ask().status_code == 200
        wait_for(lambda: bool(collector.bodies))
        assert not collector.release.is_set()
        text = local_http.get(f"{gateway.url}/metrics").text
        assert 'surefoot_traced_requests_total{model="flights",worker="0"} 20.0' in text
        assert 'surefoot_lost_traces_total{model="flights",worker="0"} 0.0' in text
        collector.release.set()
        collector.status = 200


def test_a_full_queue_drops_and_counts(collector: Receiver) -> None:
    """Spans that have no room are dropped at once and counted; what was queued arrives with the collector."""
    collector.status = 503
    spans = SpanQueue(SpanSender(f"http://127.0.0.1:{collector.port}", "test"), max_waiting=3)
    counts = SpanCounts()
    for number in range(20):
        spans.add([Span(b"t" * 16, bytes([number] * 8), b"", f"{number}", 1.0, 2.0)], counts)
    assert counts.queued + counts.dropped == 20
    assert counts.dropped >= 20 - 3 - 100
    assert counts.queued >= 3
    wait_for(lambda: bool(collector.bodies))
    collector.status = 200
    wait_for(lambda: len({span.name for span in spans_of(collector)}) == counts.queued)
    spans.close(5.0)


def test_what_the_collector_refuses_is_counted(collector: Receiver) -> None:
    """Spans that the collector will never take are not sent again, and counted."""
    collector.status = 400
    spans = SpanQueue(SpanSender(f"http://127.0.0.1:{collector.port}", "test"))
    counts = SpanCounts()
    spans.add([Span(b"t" * 16, b"s" * 8, b"", "one", 1.0, 2.0)], counts)
    wait_for(lambda: counts.refused == 1)
    spans.close(5.0)
    assert len(collector.bodies) == 1
