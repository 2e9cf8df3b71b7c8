"""A real Prometheus server that holds the counters of a past that was written for it."""

import contextlib
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.conftest import free_port


def program(name: str) -> str:
    """Path of a program of Debian's package prometheus."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"this test needs {name}: apt-get install prometheus")
    return found


@contextlib.contextmanager
def prometheus(root: Path, text: str, config: Mapping[str, object] | None = None) -> Iterator[str]:
    """Start it over samples in the OpenMetrics format; it scrapes what the configuration says. Gives its base URL."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "past.txt").write_text(f"{text}# EOF\n")
    made = [
        program("promtool"),
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        str(root / "past.txt"),
        str(root / "data"),
    ]
    if text:
        done = subprocess.run(made, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    (root / "prometheus.yml").write_text(json.dumps(config or {"scrape_configs": []}))
    port = free_port()
    command = [program("prometheus"), f"--config.file={root}/prometheus.yml", f"--storage.tsdb.path={root}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=100y"]
    with (root / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=root, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while not _is_ready(port):
            assert process.poll() is None, (root / "prometheus.log").read_text()
            assert time.monotonic() < deadline, "Prometheus does not answer"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def _is_ready(port: int) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5) as answer:
        return bool(answer.status == 200)
    return False
