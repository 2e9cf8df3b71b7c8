"""Read requests and send responses over raw ASGI."""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import orjson

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON_CONTENT_TYPE = b"application/json"
TEXT_CONTENT_TYPE = b"text/plain; charset=utf-8"


class ClientDisconnected(Exception):
    """The caller closed the connection before the whole body had come."""


class HttpError(Exception):
    """An answer other than success.

    Attributes:
        status: HTTP status.
        code: MLflow's name for what is wrong.
        headers: Further response headers.
    """

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        """Say what is wrong; keywords become headers, retry_after as Retry-After."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


@dataclass(slots=True)
class Response:
    """A response: body, status and headers, and what is to be done once it has been sent."""

    body: bytes
    status: int = 200
    kind: bytes = JSON_CONTENT_TYPE
    headers: dict[str, str] = field(default_factory=dict)
    encoded: list[tuple[bytes, bytes]] = field(default_factory=list)
    after: Callable[[], None] | None = None

    @classmethod
    def json(cls, value: object, status: int = 200) -> "Response":
        """Give a JSON answer."""
        return cls(orjson.dumps(value), status)

    @classmethod
    def error(cls, refusal: HttpError) -> "Response":
        """Give an error as MLflow's scoring server words it."""
        body = {"error_code": refusal.code, "message": str(refusal)}
        return cls(orjson.dumps(body), refusal.status, JSON_CONTENT_TYPE, dict(refusal.headers))

    async def send(self, send: Send) -> None:
        """Write it to the connection."""
        headers = [(b"content-type", self.kind), (b"content-length", b"%d" % len(self.body)), *self.encoded]
        headers += [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def get_header(scope: Scope, name: bytes) -> str:
    """Give a request header, or the empty text."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return ""


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Read the whole body.

    Args:
        scope: The request.
        receive: ASGI.
        limit: Largest body [bytes].

    Raises:
        HttpError: It is larger.
        ClientDisconnected: The caller closed the connection.
    """
    length = get_header(scope, b"content-length")
    if length.isdigit() and int(length) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def _too_large(limit: int) -> HttpError:
    return HttpError(413, "REQUEST_LIMIT_EXCEEDED", f"the body is larger than {limit} bytes", connection="close")


def require_method(scope: Scope, methods: tuple[str, ...]) -> None:
    """Refuse a method that an endpoint does not answer.

    Raises:
        HttpError: It is not one of these.
    """
    if scope["method"] not in methods:
        raise HttpError(405, "BAD_REQUEST", f"use {' or '.join(methods)}", allow=", ".join(methods))
