"""A TCP proxy in front of a server that can be down, or swallow the requests that would change something."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator

_CHUNK = 65536


class FlakyProxy:
    """Forwards connections to an address until it is told otherwise.

    Attributes:
        port: Where it listens on the loopback interface.
        swallow: Beginnings of requests, or parts of their first line, that are never forwarded and never answered.
        down: Whether it closes every connection at once.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.swallow: tuple[bytes, ...] = ()
        self.swallowed = 0
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                proxy.forward(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self._over = threading.Event()

    def forward(self, caller: socket.socket) -> None:
        """Serve one connection: each part that the caller sends is forwarded, unless it is swallowed."""
        with contextlib.suppress(OSError), socket.create_connection(self.target, timeout=60) as server:
            while part := caller.recv(_CHUNK):
                line = part.split(b"\n", 1)[0]
                if any(mark in line for mark in self.swallow):
                    self.swallowed += 1
                    self._over.wait()
                    return
                server.sendall(part)
                if not _answered(server, caller):
                    return

    @contextlib.contextmanager
    def running(self) -> Iterator["FlakyProxy"]:
        """Listen until the end of the block."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def _answered(server: socket.socket, caller: socket.socket) -> bool:
    """Copy what the server says now; False when it has closed the connection."""
    server.settimeout(60)
    while True:
        part = server.recv(_CHUNK)
        if not part:
            return False
        caller.sendall(part)
        server.settimeout(0.05)
        try:
            if not server.recv(1, socket.MSG_PEEK):
                return False
        except TimeoutError:
            return True
