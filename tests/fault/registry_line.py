"""An HTTP server between a client and MLflow that spoils numbered requests."""

import http.server
import socket
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Line:
    """An HTTP server that passes requests on to MLflow and spoils some of them.

    Attributes:
        url: Where it listens.
        faults: What to do to the next writes, one each: "500-before", "500-after", "drop-before",
            "drop-after", "hang-after", "lost-race", "403".
        writes: Writes seen [count].
        calls: Requests seen since `fail` was called [count].
        meanwhile: Called when a write is spoiled, before it is answered.
    """

    def __init__(self, target: str, port: int = 0) -> None:
        self.faults: list[str] = []
        self.writes = 0
        self.calls = 0
        self._at: dict[int, str] = {}
        self.meanwhile: Callable[[], object] = lambda: None
        line = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._serve(fault="")

            def do_POST(self) -> None:
                line.writes += 1
                self._serve(fault=line.faults.pop(0) if line.faults else "")

            def do_DELETE(self) -> None:
                self.do_POST()

            def log_message(self, *_: object) -> None:
                """Keep the tests' output clean."""

            def _serve(self, fault: str) -> None:
                line.calls += 1
                fault = line._at.pop(line.calls, fault)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, answer = 500, b"spoiled"
                if not fault.endswith("-before") and fault not in {"lost-race", "403"}:
                    status, answer = _ask(target + self.path, self.command, body)
                if fault:
                    line.meanwhile()
                if fault == "hang-after":
                    time.sleep(2)
                if fault.startswith(("drop", "hang")):
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                if fault.startswith("500"):
                    status, answer = 500, b'{"error_code": "INTERNAL_ERROR", "message": "spoiled"}'
                if fault == "403":
                    status, answer = 403, b'{"error_code": "PERMISSION_DENIED", "message": "you may not"}'
                if fault == "lost-race":
                    said = "UNIQUE constraint failed: registered_model_aliases.name"
                    status, answer = 400, f'{{"error_code": "BAD_REQUEST", "message": "{said}"}}'.encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def fail(self, at: dict[int, str]) -> None:
        """Count from here, and spoil these requests, reads among them: fault by number."""
        self.calls, self._at = 0, dict(at)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def _ask(url: str, method: str, body: bytes) -> tuple[int, bytes]:
    request = urllib.request.Request(  # noqa: S310 - our own server
        url, data=body or None, method=method, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own server
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
