"""A caller that sends byte after byte does not hold a connection for ever."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from surefoot.gateway.http.asgi import Receive, Response, Scope, Send, read_body
from surefoot.gateway.supervision.server import DrainingServer
from tests.conftest import free_port

PATIENCE = 0.5
REQUEST = b"POST /models/m/invocations HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the body, when all of it has come."""
    if scope["type"] == "http":
        await Response(await read_body(scope, receive, 1000)).send(send)
        return
    for stage in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{stage}.complete"})


@contextlib.asynccontextmanager
async def listening(patience: float) -> AsyncIterator[int]:
    """A server in front of the echo."""
    port = free_port()
    server = DrainingServer(echo, port=port, patience=patience)  # type: ignore[arg-type]
    server._app = type("App", (), {"leaving": False})()
    task = asyncio.create_task(server._serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn tells it by this flag alone
        await asyncio.sleep(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        await task


async def dripped(sent: bytes, patience: float = PATIENCE) -> bytes:
    """What comes back until the server closes, while bytes go out one by one for as long as it takes."""
    async with listening(patience) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def drip() -> None:
            for byte in sent:
                writer.write(bytes([byte]))
                await asyncio.sleep(patience / 10.0)
            await asyncio.Event().wait()

        task = asyncio.create_task(drip())
        said = await reader.read()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await task
        writer.close()
        return said


@pytest.mark.parametrize("sent", [b"", REQUEST[:30], REQUEST[:-1]], ids=["nothing", "head", "body"])
def test_a_request_that_does_not_come_whole_is_refused(sent: bytes) -> None:
    """A connection that sends nothing, half of its headers or half of its body is answered 408 and closed."""
    said = asyncio.run(dripped(sent))
    assert said.startswith(b"HTTP/1.1 408")
    assert b"did not come within 0.5 s" in said


def test_slow_but_steady_callers_are_answered() -> None:
    """A request that comes in time is answered, and the connection serves the next one after a rest."""

    async def ask() -> bytes:
        async with listening(30.0) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for part in (REQUEST[:20], REQUEST[20:-2], REQUEST[-2:] + REQUEST):
                writer.write(part)
                await asyncio.sleep(0.05)
            said = b""
            while said.count(b"body") < 2:
                said += await reader.read(1000)
            writer.close()
            return said

    assert asyncio.run(ask()).count(b"HTTP/1.1 200") == 2
