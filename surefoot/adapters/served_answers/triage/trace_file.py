"""Encode request traces in OpenTelemetry's JSON format, and read them back."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from surefoot.core.errors import EvidenceUnavailable
from surefoot.core.incidents.request_trace import RequestTrace, TracedStage, VersionTrace

_SERVICE = "surefoot"
_ERROR_STATUS = 2
"""Code of a span that ended by an error, in OpenTelemetry's protocol."""
_INTERNAL = 1
"""Kind of a span that crosses no process, in OpenTelemetry's protocol."""


def encode_traces(model: str, traces: Sequence[RequestTrace]) -> bytes:
    """Give traces in the JSON form of OpenTelemetry's protocol: one trace a request, one span a version and stage.

    Args:
        model: Registered model.
        traces: The traces.

    Source: OpenTelemetry Protocol 1.x, JSON encoding: ids in hexadecimal digits, times as texts [ns].
    """
    spans: list[dict[str, object]] = []
    for one in traces:
        trace, start = _hex_id(f"{model}|{one.request}|{one.row}", 16), int(one.at * 1e9)
        root = {"surefoot.request": one.request, "surefoot.row": one.row, "surefoot.logged": one.logged}
        last = start
        for version in one.versions:
            parent, begun = _hex_id(f"{trace}|{version.version}", 8), start
            for place, stage in enumerate(version.stages):
                ended = begun + int(stage.ms * 1e6)
                told = "surefoot.error" if stage.failed else "surefoot.value"
                values = {"surefoot.stage": stage.name, told: stage.text}
                spans.append(_span(trace, _hex_id(f"{parent}|{place}", 8), parent, stage.name, (begun, ended), values))
                begun = ended
            attributes = {"surefoot.version": version.version}
            spans.append(
                _span(trace, parent, _hex_id(trace, 8), f"version {version.version}", (start, begun), attributes)
            )
            last = max(last, begun)
        spans.append(_span(trace, _hex_id(trace, 8), "", f"{model} request", (start, last), root))
    scope = {"scope": {"name": "surefoot.incident"}, "spans": spans}
    resource = {"attributes": _attributes({"service.name": _SERVICE, "surefoot.model": model})}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}, indent=1).encode()


def _hex_id(text: str, size: int) -> str:
    """An id that is the same for the same text, of so many bytes."""
    return hashlib.sha256(text.encode()).hexdigest()[: 2 * size]


def _span(
    trace: str, own: str, parent: str, name: str, period: tuple[int, int], attributes: Mapping[str, object]
) -> dict[str, object]:
    made: dict[str, object] = {"traceId": trace, "spanId": own, "name": name, "kind": _INTERNAL}
    if parent:
        made["parentSpanId"] = parent
    if "surefoot.error" in attributes:
        made["status"] = {"code": _ERROR_STATUS, "message": attributes["surefoot.error"]}
    begun, ended = period
    return made | {
        "startTimeUnixNano": str(begun),
        "endTimeUnixNano": str(ended),
        "attributes": _attributes(attributes),
    }


def _attributes(values: Mapping[str, object]) -> list[dict[str, object]]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": str(value)}}
        for key, value in values.items()
    ]


def read_traces(file: Path) -> tuple[RequestTrace, ...]:
    """Read what `encode_traces` made; nothing where there is no file.

    Raises:
        EvidenceUnavailable: The file cannot be read.
    """
    if not file.is_file():
        return ()
    try:
        (resource,) = orjson.loads(file.read_bytes())["resourceSpans"]
        spans = [_ReadSpan.of(span) for scope in resource["scopeSpans"] for span in scope["spans"]]
        return tuple(_request(root, spans) for root in spans if not root.parent)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvidenceUnavailable(f"the traces in {file} cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class _ReadSpan:
    """A span of a file."""

    own: str
    parent: str
    begun: int
    ended: int
    values: dict[str, str]

    @classmethod
    def of(cls, span: Any) -> "_ReadSpan":
        """A span from its JSON form."""
        values = {str(one["key"]): str(next(iter(one["value"].values()))) for one in span["attributes"]}
        begun, ended = int(str(span["startTimeUnixNano"])), int(str(span["endTimeUnixNano"]))
        return cls(str(span["spanId"]), str(span.get("parentSpanId", "")), begun, ended, values)


def _request(root: _ReadSpan, spans: Sequence[_ReadSpan]) -> RequestTrace:
    versions = tuple(
        VersionTrace(
            version.values["surefoot.version"],
            tuple(_read_stage(one) for one in spans if one.parent == version.own),
        )
        for version in spans
        if version.parent == root.own
    )
    values = root.values
    return RequestTrace(
        values["surefoot.request"], int(values["surefoot.row"]), root.begun / 1e9, values["surefoot.logged"], versions
    )


def _read_stage(span: _ReadSpan) -> TracedStage:
    failed = "surefoot.error" in span.values
    text = span.values["surefoot.error" if failed else "surefoot.value"]
    return TracedStage(span.values["surefoot.stage"], text, (span.ended - span.begun) / 1e6, failed)
