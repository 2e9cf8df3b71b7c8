"""Exchange messages with a model's process over a socket in an event loop."""

import asyncio
import contextlib
import socket
import threading
from typing import cast

from surefoot.models import process_messages

_DISCONNECT_TIMEOUT_S = 2.0
"""Longest wait for the event loop to let go of a connection, for a thread that closes it [s]."""


class ModelConnection(asyncio.Protocol):
    """The event loop's side of the socket: one question, one answer at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, end: socket.socket, watched: int) -> None:
        self._loop, self._end, self._watched = loop, end, watched
        self._received = bytearray()
        self._answer: asyncio.Future[bytes] | None = None
        self._gone = False
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, end: socket.socket, watched: int) -> "ModelConnection":
        """Take over a connected socket; `watched` is readable when the other process has ended."""
        loop = asyncio.get_running_loop()
        end.setblocking(False)
        connection = cls(loop, end, watched)
        await loop.create_connection(lambda: connection, sock=end.dup())
        # One round of the loop later: an answer that was given just before the end is read first.
        loop.add_reader(watched, lambda: loop.call_soon(connection.disconnect))
        return connection

    async def ask(self, body: bytes) -> bytes:
        """Send a message and wait for the one that comes back.

        Raises:
            PeerClosed: The other side has closed, or its process has ended.
        """
        if self._gone or self._transport is None:
            raise process_messages.PeerClosed("it has closed")
        self._answer = self._loop.create_future()
        message = process_messages.encode_message_header(len(body)) + body
        # At once, not when the loop comes round to it: nothing is being written, for there is one question at a time.
        with contextlib.suppress(BlockingIOError):
            message = message[self._end.send(message) :]
        if message:
            self._transport.write(message)
        try:
            return await self._answer
        finally:
            self._answer = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to write to."""
        self._transport = cast("asyncio.Transport", transport)  # a socket's transport can write

    def data_received(self, data: bytes) -> None:
        """Collect a message; hand it over when it is whole."""
        self._received += data
        if (whole := process_messages.decode_complete_message(self._received)) is None:
            return
        self._received.clear()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(whole)

    def connection_lost(self, _error: Exception | None) -> None:
        """The other side has closed."""
        self.disconnect()

    def disconnect_from_any_thread(self) -> None:
        """Disconnect from any thread: an event loop must only be changed in its own thread."""
        with contextlib.suppress(RuntimeError):  # no loop runs in this thread
            if asyncio.get_running_loop() is self._loop:
                self.disconnect()
                return
        done = threading.Event()

        def on_loop() -> None:
            self.disconnect()
            done.set()

        with contextlib.suppress(RuntimeError):  # the loop is closed, and looks at nothing any more
            self._loop.call_soon_threadsafe(on_loop)
            done.wait(_DISCONNECT_TIMEOUT_S)

    def disconnect(self) -> None:
        """Stop receiving; what waits for an answer gets PeerClosed."""
        if self._gone:
            return
        self._gone = True
        with contextlib.suppress(RuntimeError, ValueError, OSError):  # the loop or the descriptor may be closed
            self._loop.remove_reader(self._watched)
        if self._transport is not None:
            with contextlib.suppress(RuntimeError):
                self._transport.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(process_messages.PeerClosed("the process has ended"))
