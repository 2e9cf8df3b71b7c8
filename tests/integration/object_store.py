"""A real S3 interface on this host: moto's server, in a process of its own."""

import contextlib
import http.client
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.conftest import free_port

BUCKET = "evidence"


@contextlib.contextmanager
def object_store(root: Path) -> Iterator[Mapping[str, str]]:
    """Start it with an empty bucket; the environment with which libraries find it."""
    port = free_port()
    with (root / "moto.log").open("wb") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while _put_bucket(port) != http.client.OK:
            assert process.poll() is None, (root / "moto.log").read_text()
            assert time.monotonic() < deadline, "moto does not listen"
            time.sleep(0.1)
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        process.terminate()
        process.wait(30)


def _put_bucket(port: int) -> int:
    with contextlib.suppress(OSError), contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        connection.request("PUT", f"/{BUCKET}")
        return connection.getresponse().status
    return 0
