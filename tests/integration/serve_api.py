"""A small server with the REST API of Ray Serve: it starts applications at once, and fails as a test says."""

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

TOKEN = "t" * 64


class ServeApi:
    """What the server holds, and how it misbehaves.

    Attributes:
        applications: How each application was deployed, by name.
        status: State of an application, where it is not RUNNING.
        message: What its deployment says, by name.
        taken: Settings that replicas of an application have, where they are not those that it was told.
        deployment_status: State of each deployment.
        failure: Status and body of every answer to a change; None where it answers.
        garbage: Body of every answer to a look; empty where it answers.
        runs: Whether Ray Serve runs.
        writes: Changes that were taken [count].
    """

    def __init__(self) -> None:
        self.applications: dict[str, dict[str, Any]] = {}
        self.status: dict[str, str] = {}
        self.message: dict[str, str] = {}
        self.taken: dict[str, dict[str, Any]] = {}
        self.deployment_status = "HEALTHY"
        self.failure: tuple[int, bytes] | None = None
        self.garbage = b""
        self.runs = True
        self.writes = 0
        self.port = 0

    def told(self) -> bytes:
        """What a look is told."""
        found = {
            name: {
                "status": self.status.get(name, "RUNNING"),
                "source": "declarative",
                "message": "",
                "deployed_app_config": config,
                "deployments": {
                    one["name"]: {
                        "status": self.deployment_status,
                        "message": self.message.get(name, ""),
                        "deployment_config": self.taken.get(name, one),
                    }
                    for one in config.get("deployments", ())
                },
            }
            for name, config in self.applications.items()
        }
        controller = {"node_id": "1"} if self.runs else {}
        return self.garbage or json.dumps({"controller_info": controller, "applications": found}).encode()


@contextlib.contextmanager
def serve_api() -> Iterator[ServeApi]:
    """The server, on a port of this machine."""
    held = ServeApi()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Tell every application."""
            self._answer(*self._refused() or (200, held.told()))

        def do_PUT(self) -> None:
            """Take every application, and remove the others."""
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            refused = self._refused() or held.failure
            if refused is None:
                held.applications = {one["name"]: one for one in body["applications"]}
                held.writes += 1
            self._answer(*refused or (200, b""))

        def _refused(self) -> tuple[int, bytes] | None:
            known = self.headers.get("authorization") == f"Bearer {TOKEN}"
            return None if known else (401, b"Unauthorized: Missing authentication token")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.port = int(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
