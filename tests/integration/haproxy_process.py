"""Real HAProxy processes in front of two small servers that answer with their version."""

import contextlib
import http.client
import http.server
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import free_port

BACKEND = "models"
FAILING = "3"
"""Version whose server answers each request with an error."""


class VersionServer(http.server.ThreadingHTTPServer):
    """A server of one version: it answers with its number."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, number: str) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.send_response(500 if number == FAILING else 200)
                self.send_header("x-model-version", number)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: HAProxy resets connections that it keeps."""


class Haproxy:
    """One HAProxy process.

    Attributes:
        url: Where callers ask.
        address: Its runtime API on a socket of TCP; `socket` is the same on a Unix socket.
    """

    def __init__(self, root: Path, servers: dict[str, int], socket: Path) -> None:
        self.root, self.servers, self._admin_socket = root, servers, socket
        self.port, self.admin = free_port(), free_port()
        self.address, self.socket = f"tcp://127.0.0.1:{self.admin}", f"unix:{self._admin_socket}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Write the configuration, start, and wait until it answers."""
        program = shutil.which("haproxy")
        if program is None:
            pytest.fail("this test needs HAProxy: apt-get install haproxy")
        self.root.mkdir(exist_ok=True)
        (self.root / "surefoot.map").touch()
        lines = "\n".join(f"  server v{number} 127.0.0.1:{port} weight 0" for number, port in self.servers.items())
        config = self.root / "haproxy.cfg"
        config.write_text(
            f"""
global
  stats socket {self._admin_socket} mode 600 level admin
  stats socket ipv4@127.0.0.1:{self.admin} level admin
  nbthread 2
  maxconn 1000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend front
  bind 127.0.0.1:{self.port}
  http-response set-header X-Surefoot-Split %[str(m),map({self.root}/surefoot.map,none)]
  default_backend {BACKEND}
backend {BACKEND}
  balance roundrobin
{lines}
"""
        )
        with (self.root / "haproxy.log").open("ab") as log:
            self.process = subprocess.Popen([program, "-db", "-f", str(config)], stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self._admin_socket.exists() or not self._listens():
            assert self.process.poll() is None, (self.root / "haproxy.log").read_text()
            assert time.monotonic() < deadline, "HAProxy does not listen"
            time.sleep(0.02)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError):
            self.ask()
            return True
        return False

    def ask(self) -> tuple[int, str]:
        """Ask once: the status, and the version that answered."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers.get("x-model-version", "")

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None


@contextlib.contextmanager
def version_servers(numbers: tuple[str, ...] = ("1", "2", FAILING)) -> Iterator[dict[str, int]]:
    """A server for each version; gives the port of each."""
    with contextlib.ExitStack() as stack:
        ports = {}
        for number in numbers:
            server = stack.enter_context(VersionServer(number))
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            ports[number] = int(server.server_address[1])
        yield ports


@contextlib.contextmanager
def haproxies(root: Path, count: int = 1) -> Iterator[list[Haproxy]]:
    """So many HAProxy processes in front of the same servers."""
    # Not below the folder of the test: the path of a Unix socket has room for 107 characters.
    with version_servers() as servers, tempfile.TemporaryDirectory(prefix="haproxy-") as sockets:
        made = [Haproxy(root / f"haproxy-{n}", servers, Path(sockets) / f"{n}.sock") for n in range(count)]
        root.mkdir(exist_ok=True)
        try:
            for one in made:
                one.start()
            yield made
        finally:
            for one in made:
                one.stop()
