"""Encode spans as the OTLP request that OpenTelemetry collectors take."""

from collections.abc import Iterable, Mapping

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

from surefoot.core.telemetry.span import AttributeValue, Span, SpanEvent, SpanKind

_KINDS = {
    SpanKind.INTERNAL: trace_pb2.Span.SPAN_KIND_INTERNAL,
    SpanKind.SERVER: trace_pb2.Span.SPAN_KIND_SERVER,
}
_LONGEST_TEXT = 1000
"""Characters of an attribute that are sent [count]."""


def encode_spans(spans: Iterable[Span], service: str) -> bytes:
    """Encode spans as one request in Protobuf.

    Args:
        spans: What is sent.
        service: Name of the service that they are of: OpenTelemetry's `service.name`.

    Source: https://opentelemetry.io/docs/specs/otlp/, OTLP/HTTP.
    """
    scope = trace_pb2.ScopeSpans(scope=InstrumentationScope(name="surefoot"), spans=[_span(one) for one in spans])
    resource = Resource(attributes=_attributes({"service.name": service}))
    whole = trace_pb2.ResourceSpans(resource=resource, scope_spans=[scope])
    encoded: bytes = ExportTraceServiceRequest(resource_spans=[whole]).SerializeToString()
    return encoded


def _span(span: Span) -> trace_pb2.Span:
    failed = trace_pb2.Status(code=trace_pb2.Status.STATUS_CODE_ERROR, message=span.error[:_LONGEST_TEXT])
    return trace_pb2.Span(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_id,
        trace_state=span.trace_state,
        name=span.name,
        kind=_KINDS[span.kind],
        start_time_unix_nano=_nanoseconds(span.began),
        end_time_unix_nano=_nanoseconds(span.ended),
        attributes=_attributes(span.attributes),
        events=[_event(one) for one in span.events],
        dropped_events_count=span.dropped_events,
        status=failed if span.error else trace_pb2.Status(),
    )


def _event(event: SpanEvent) -> trace_pb2.Span.Event:
    attributes = _attributes(event.attributes)
    return trace_pb2.Span.Event(name=event.name, time_unix_nano=_nanoseconds(event.at), attributes=attributes)


def _nanoseconds(at: float) -> int:
    return round(at * 1e6) * 1000  # a double of Unix seconds is exact to a microsecond, not further


def _attributes(attributes: Mapping[str, AttributeValue]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in attributes.items()]


def _value(value: AttributeValue) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    return AnyValue(double_value=value) if isinstance(value, float) else AnyValue(string_value=value[:_LONGEST_TEXT])
