"""Receivers of messages for tests: an HTTP server on a free port that takes, refuses, or never answers."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """What a server was sent, and how it answers.

    Attributes:
        port: Where it listens on 127.0.0.1.
        bodies: Bodies of requests, decoded, in the order in which they came.
        paths: Paths of all requests.
        ids: What the header Idempotency-Key said.
        headers: Headers of requests that had a body, in lower case.
        status: How it answers; 0 for never.
        on_body: Is called with each body before it is answered.
    """

    def __init__(self) -> None:
        self.port = 0
        self.bodies: list[Any] = []
        self.paths: list[str] = []
        self.ids: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.on_body: Callable[[Any], None] = lambda _body: None
        self.status = 200
        self.release = threading.Event()

    @property
    def titles(self) -> list[str]:
        """Titles of what came."""
        return [str(one["title"]) for one in self.bodies]


@contextmanager
def listening(read: Callable[[bytes], Any] = json.loads) -> Iterator[Receiver]:
    """A server that runs until the end of the block; requests that hang are let go then.

    Args:
        read: Decodes a body.
    """
    state = Receiver()

    class Handler(BaseHTTPRequestHandler):
        """Keeps what comes."""

        def do_POST(self) -> None:
            """Keep a message."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.ids.append(self.headers.get("Idempotency-Key", ""))
            state.headers.append({name.lower(): value for name, value in self.headers.items()})
            state.bodies.append(read(body))
            state.on_body(state.bodies[-1])
            self.do_GET()

        def do_GET(self) -> None:
            """Keep the path, and answer as the test says."""
            state.paths.append(self.path)
            if state.status == 0:
                state.release.wait(120.0)
                return
            self.send_response(state.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield state
    finally:
        state.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
