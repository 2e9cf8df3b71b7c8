"""Send spans to an OpenTelemetry collector over OTLP/HTTP."""

import os
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

import httpx

from surefoot.core.telemetry.span import Span
from surefoot.telemetry.otlp_encoding import encode_spans
from surefoot.telemetry.receiver_http import post_body

_HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
"""OpenTelemetry's variable for headers of every request, such as a key: `name=value,name=value`."""


class SpanSender:
    """Sends spans to one collector."""

    def __init__(self, endpoint: str, service: str, environment: Mapping[str, str] | None = None) -> None:
        """Connect to nothing yet.

        Args:
            endpoint: Base URL of the collector; spans go to `/v1/traces` below it.
            service: Name of the service that the spans are of.
            environment: Environment variables; those of this process without it.
        """
        variables = os.environ if environment is None else environment
        self._url = f"{endpoint.rstrip('/')}/v1/traces"
        self._service = service
        self._client = httpx.Client(headers=parse_headers(variables.get(_HEADERS, "")))

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def send(self, spans: Sequence[Span]) -> list[str]:
        """Send spans in one request.

        Returns:
            Why each was refused for good; nothing where all were taken.

        Raises:
            Unavailable: The collector does not answer, or cannot take anything now.
        """
        refusal = post_body(self._client, self._url, encode_spans(spans, self._service), "application/x-protobuf")
        return [refusal] * len(spans) if refusal else []


def parse_headers(text: str) -> dict[str, str]:
    """Read headers as OpenTelemetry writes them into a variable; what is no pair is left out.

    Args:
        text: Such as `api-key=secret,tenant=ours`, percent-encoded.
    """
    pairs = (one.partition("=") for one in text.split(","))
    return {unquote(name).strip(): unquote(value).strip() for name, equals, value in pairs if equals and name.strip()}
