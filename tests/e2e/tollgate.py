"""A proxy in front of MLflow at which one request waits for ever, so that a process can be killed exactly there."""

import contextlib
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length"}


class Tollgate:
    """Lets everything through but the change of alias `champion`.

    Attributes:
        url: Where it listens.
        arrived: Set when the change stands at the gate.
    """

    def __init__(self, server: ThreadingHTTPServer) -> None:
        """Nothing has arrived."""
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        self.arrived = threading.Event()
        self.lifted = threading.Event()


@contextlib.contextmanager
def tollgate(upstream: str, *, through: bool) -> Iterator[Tollgate]:
    """Listen in front of an MLflow server.

    Args:
        upstream: Its address.
        through: Whether the change of the alias reaches MLflow (and only its answer is lost), or not even that.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            with contextlib.suppress(ConnectionError):  # the caller was killed
                super().handle_one_request()

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            held = self.command == "POST" and self.path.endswith("/registered-models/alias") and b'"champion"' in body
            if held and not through:
                self._hold()
                return
            with contextlib.closing(http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=60)) as line:
                line.request(self.command, self.path, body, {k: v for k, v in self.headers.items() if k != "Host"})
                answer = line.getresponse()
                content = answer.read()
            if held:
                self._hold()
                return
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _hold(self) -> None:
            gate.arrived.set()
            gate.lifted.wait(120)
            self.close_connection = True

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass  # noqa: N815 - the names are the protocol's

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    gate = Tollgate(server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield gate
    finally:
        gate.lifted.set()
        server.shutdown()
        server.server_close()
        thread.join()
