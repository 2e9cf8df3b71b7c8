"""Start an MLflow server and a Prefect server that require credentials."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.connecting.postgres import Postgres

_START_TIMEOUT_S = 240.0
_ADMIN = "admin"
_BOT = "surefoot-bot"
_LEAST_PASSWORD = 12
_AUTH_FILE = """\
[mlflow]
default_permission = READ
database_uri = {database}
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
grant_default_workspace_access = false
auth_cache_ttl_seconds = 60
"""


@dataclass(frozen=True)
class Mlflow:
    """A running MLflow with basic authentication.

    Attributes:
        url: Its address.
        admin: User and password of the administrator, who registers models here.
        bot: User and password of the user that Surefoot is given.
        process: Its process id.
    """

    url: str
    admin: tuple[str, str]
    bot: tuple[str, str]
    process: int

    def ask(self, method: str, path: str, **body: object) -> httpx.Response:
        """Ask its REST interface as the administrator."""
        where = {"params": body} if method == "GET" else {"json": body}
        with httpx.Client(base_url=self.url, auth=self.admin, timeout=60.0, trust_env=False) as client:
            return client.request(method, f"/api/{path}", **where)  # type: ignore[arg-type]

    def grant(self, model: str, permission: str, user: str = _BOT) -> None:
        """Let a user do something with a registered model: READ, EDIT or MANAGE."""
        grant = {"username": user, "resource_type": "registered_model", "resource_id": model, "permission": permission}
        self.ask("POST", "3.0/mlflow/users/permissions/grant", **grant).raise_for_status()

    def add_user(self, user: str, password: str) -> None:
        """Add a user without any right but reading."""
        self.ask("POST", "2.0/mlflow/users/create", username=user, password=password).raise_for_status()

    def aliases(self, model: str) -> dict[str, str]:
        """Version by alias."""
        found = self.ask("GET", "2.0/mlflow/registered-models/get", name=model).raise_for_status().json()
        return {one["alias"]: one["version"] for one in found["registered_model"].get("aliases", [])}


@dataclass(frozen=True)
class Prefect:
    """A running Prefect that asks for a user and a password.

    Attributes:
        url: Its address, without /api.
        auth: "user:password".
        database: What it keeps its records in.
        process: Its process id.
    """

    url: str
    auth: str
    database: str
    process: int

    def ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Ask its REST interface."""
        user, _, password = self.auth.partition(":")
        url = f"{self.url}/api{path}"
        return httpx.request(method, url, json=body, auth=(user, password), timeout=60.0, trust_env=False)


@contextlib.contextmanager
def running_mlflow(folder: Path, postgres: Postgres) -> Iterator[Mlflow]:
    """Start MLflow with basic authentication, its records and users in PostgreSQL."""
    folder.mkdir(parents=True, exist_ok=True)
    for database in ("mlflow", "mlflow_users"):
        postgres.run(f"CREATE DATABASE {database}")
    users = folder / "auth.ini"
    users.write_text(_AUTH_FILE.format(database=postgres.url("mlflow_users", driver="psycopg")))
    users.chmod(0o600)
    admin, bot = secrets.token_hex(_LEAST_PASSWORD), secrets.token_hex(_LEAST_PASSWORD)
    port = _free_port()
    command = ["mlflow", "server", "--app-name", "basic-auth", "--host", "127.0.0.1", "--port", str(port), "--workers"]
    command += ["1", "--backend-store-uri", postgres.url("mlflow", driver="psycopg")]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(users),
        "MLFLOW_AUTH_ADMIN_PASSWORD": admin,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    url = f"http://127.0.0.1:{port}"
    with _process(command, environment, folder / "mlflow.log") as process:
        _wait(f"{url}/health", process, folder / "mlflow.log")
        server = Mlflow(url, (_ADMIN, admin), (_BOT, bot), process.pid)
        server.add_user(*server.bot)
        yield server


@contextlib.contextmanager
def running_prefect(folder: Path, postgres: Postgres | None) -> Iterator[Prefect]:
    """Start Prefect with an auth string; its records are in SQLite where PostgreSQL lacks what Prefect needs."""
    folder.mkdir(parents=True, exist_ok=True)
    auth, port = f"surefoot:{secrets.token_hex(_LEAST_PASSWORD)}", _free_port()
    environment = {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_API_AUTH_STRING": auth,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    database = "SQLite"
    if postgres is not None and postgres.trigrams:
        postgres.run("CREATE DATABASE prefect")
        environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = postgres.url("prefect", driver="asyncpg")
        database = f"PostgreSQL {postgres.version}"
    url = f"http://127.0.0.1:{port}"
    command = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with _process(command, environment, folder / "prefect.log") as process:
        _wait(f"{url}/api/health", process, folder / "prefect.log")
        yield Prefect(url, auth, database, process.pid)


@contextlib.contextmanager
def _process(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A server in a session of its own; all of the session ends with it."""
    usual = {name: value for name, value in os.environ.items() if not name.startswith(("SUREFOOT_", "PREFECT_"))}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=log.parent, env={**usual, **environment}, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        for wish in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, wish)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
                break
        with contextlib.suppress(ProcessLookupError):  # its workers are children of a child
            os.killpg(process.pid, signal.SIGKILL)


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=5.0, trust_env=False).is_success:
                return
        time.sleep(0.3)
    raise RuntimeError(f"{url} does not answer: {log.read_text(errors='replace')[-2000:]}")


def _free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
