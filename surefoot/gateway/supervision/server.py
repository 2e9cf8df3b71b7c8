"""Serve the gateway with uvicorn, and shut it down gracefully."""

import asyncio
import logging
import socket
import ssl

import uvicorn
from uvicorn.config import LOGGING_CONFIG
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from surefoot.gateway.http.app import Gateway
from surefoot.tls_files import TlsFiles, make_server_context

_REQUEST_TIMEOUT_S = 60.0
"""How long a request may take to come, from its first byte to its last [s]."""
_LINGER_S = 1.0
"""How long what still comes on a refused connection is read and dropped [s]: closed at once, the caller's kernel would
throw the refusal away."""
_DRAIN_TIMEOUT_S = 3.0
"""How long callers with open connections may finish before these are closed [s]."""


class _TimedConnection(HttpToolsProtocol):
    """A connection whose requests must come whole within a time; one that sends byte after byte is closed.

    Attributes:
        patience: How long a request may take to come, and a new connection to send something [s].
    """

    patience = _REQUEST_TIMEOUT_S

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._coming, self._refused = True, False
        self._timer: asyncio.TimerHandle | None = self.loop.call_later(self.patience, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._wait(coming=False)
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._coming = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """A request is here."""
        self._coming = False
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Take some bytes; most requests come whole, and cost no timer."""
        if self._refused:
            return
        super().data_received(data)
        self._wait(coming=self._coming)

    def _wait(self, *, coming: bool) -> None:
        if coming and self._timer is None:
            self._timer = self.loop.call_later(self.patience, self._too_slow)
        elif not coming and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self.cycle is None or (self.cycle.response_complete or not self.cycle.response_started):
            said = b"the request did not come within %g s" % self.patience
            head = b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain\r\nconnection: close\r\n"
            self.transport.write(head + b"content-length: %d\r\n\r\n" % len(said) + said)
            if self.transport.can_write_eof():  # a connection with TLS cannot be closed by halves
                self.transport.write_eof()
            self._refused = True
            self._timer = self.loop.call_later(_LINGER_S, self.transport.close)
            return
        self.transport.close()


class DrainingServer(uvicorn.Server):
    """Takes no new connections when it is to end, asks the open ones to close with their next answer, then ends."""

    def __init__(
        self,
        app: Gateway,
        host: str = "127.0.0.1",
        port: int = 0,
        patience: float = _REQUEST_TIMEOUT_S,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Serve this app, with TLS if a context is given; a request must come whole within so many seconds."""
        self._app = app
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            loop="uvloop",
            http=type("Patient", (_TimedConnection,), {"patience": patience}),
            lifespan="on",
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_level="warning",
            # Where this process formats its log lines, those of the server are formatted so as well.
            log_config=None if logging.getLogger().handlers else LOGGING_CONFIG,
            timeout_keep_alive=75,  # longer than proxies keep theirs, so that no request meets a closing connection
            timeout_graceful_shutdown=10,
            backlog=2048,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
        )
        super().__init__(config)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listening sockets, and end once every open request has been answered."""
        for server in self.servers:
            server.close()
        self._app.leaving = True
        for _ in range(int(_DRAIN_TIMEOUT_S / 0.02)):
            if not self.server_state.connections or self.force_exit:
                break
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)


def serve_socket(app: Gateway, listening: socket.socket, supervisor: int, tls: TlsFiles | None = None) -> None:
    """Serve on a socket that listens already, which other workers of the supervisor share; with TLS if files are given.

    Raises:
        Rejected: The files of TLS cannot be used.
    """
    app.set_listening_socket(listening.dup(), supervisor)
    DrainingServer(app, tls=None if tls is None else make_server_context(tls)).run([listening])
