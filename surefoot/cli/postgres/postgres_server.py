"""Prepare, start and stop the embedded PostgreSQL, and make its databases."""

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from surefoot.cli.local.processes import end_processes
from surefoot.cli.postgres.postgres_place import (
    Owner,
    check_place,
    data_folder,
    find_owner,
    has_databases,
    postgres_folder,
    programs,
)
from surefoot.core.errors import Rejected, Unavailable
from surefoot.settings import POSTGRES_DATABASES, POSTGRES_USER, Settings

_EXTENSION = Path(__file__).parent / "trigrams"
_SHUTDOWN_TIMEOUT_S = 15.0
_START_TIMEOUT_S = 60.0
"""How long it may take to answer: after a crash it reads its log first [seconds]."""
_CONNECT_TIMEOUT_S = 5
_UNFINISHED = "unfinished-"


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """How the server is started.

    Attributes:
        words: The command.
        folder: Its working folder.
        owner: The user as which it runs; None for the user of this process.
    """

    words: list[str]
    folder: Path
    owner: Owner | None


def prepare_postgres(config: Settings, *, fresh: bool) -> ServerCommand:
    """Make folders and databases where they are missing, and clear away what a killed server has left.

    Args:
        config: Where everything is; no server that it names is running.
        fresh: Whether databases may be made where there are none: not where an earlier `up` has made some.

    Raises:
        Rejected: It cannot run here, or the databases are gone.
        Unavailable: The databases cannot be made.
    """
    check_place(config.home)
    home, binaries = config.home, programs()
    if not fresh and not has_databases(home):
        raise Rejected(
            f"the databases of {home} are gone from {data_folder(home)}: bring the folder back, or take another"
            " SUREFOOT_HOME"
        )
    owner = find_owner(home)
    postgres_folder(home).mkdir(mode=0o755, parents=True, exist_ok=True)
    _end_left_servers(home)
    if not has_databases(home):
        _make_cluster(home, binaries, owner)
    # No process of these data runs: what the file says, another process may have the number of by now.
    (data_folder(home) / "postmaster.pid").unlink(missing_ok=True)
    share = postgres_folder(home) / "share"
    (share / "extension").mkdir(parents=True, exist_ok=True)
    for file in _EXTENSION.iterdir():
        shutil.copyfile(file, share / "extension" / file.name)
    for path in (share, share / "extension", *(share / "extension").iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    sockets = Path(config.postgres)
    _make_private_folder(sockets, owner)
    options = {
        "listen_addresses": "",
        "unix_socket_directories": f'"{sockets}"',
        "unix_socket_permissions": "0700",  # the socket asks for no password
        "extension_control_path": f"$system:{share}",
        "max_connections": "200",
        "log_checkpoints": "off",
        "wal_recycle": "off",  # an old segment of the log is removed, with what 'surefoot forget' has erased
        "max_wal_size": "256MB",
    }
    words = [str(binaries / "postgres"), "-D", str(data_folder(home))]
    for name, value in options.items():
        words += ["-c", f"{name}={value}"]
    return ServerCommand(words, data_folder(home), owner)


def _make_cluster(home: Path, binaries: Path, owner: Owner | None) -> None:
    """Make an empty cluster, all of it or nothing: a killed `initdb` leaves a folder of another name."""
    for left in postgres_folder(home).glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left)
    unfinished = postgres_folder(home) / f"{_UNFINISHED}{secrets.token_hex(4)}"
    _make_private_folder(unfinished, owner)
    command = [str(binaries / "initdb"), "-D", str(unfinished), "-U", POSTGRES_USER, "--auth-local=trust"]
    command += ["--auth-host=reject", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin"]
    command += ["--builtin-locale=C.UTF-8", "--no-instructions"]
    done = subprocess.run(  # noqa: S603 - our own program
        command, check=False, capture_output=True, text=True, cwd=unfinished, **run_as(owner)
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise Unavailable(f"PostgreSQL cannot make its databases in {postgres_folder(home)}: {said}")
    if data_folder(home).exists():
        data_folder(home).rmdir()  # raises where a person has put something there
    unfinished.rename(data_folder(home))


def run_as(owner: Owner | None) -> dict[str, Any]:
    """The arguments with which `subprocess` runs a program as the owner."""
    return {} if owner is None else {"user": owner.uid, "group": owner.gid, "extra_groups": []}


def _make_private_folder(folder: Path, owner: Owner | None) -> None:
    """Make a folder that only the owner may enter.

    Raises:
        Rejected: It is another user's: in a shared folder a stranger may have made it first.
    """
    uid = os.geteuid() if owner is None else owner.uid
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        if owner is not None:
            os.chown(folder, owner.uid, owner.gid)
    found = folder.lstat()
    if folder.is_symlink() or found.st_uid not in {uid, os.geteuid()}:
        raise Rejected(f"{folder} belongs to another user: remove it, or take a SUREFOOT_HOME with a shorter path")
    folder.chmod(0o700)
    if found.st_uid != uid and owner is not None:  # a command was killed before it gave the folder away
        os.chown(folder, owner.uid, owner.gid)


def cluster_processes(home: Path) -> list[psutil.Process]:
    """Processes of the server of a home folder, the first one first: each works in the folder of the databases."""
    data, found = data_folder(home).resolve(), []
    for each in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if each.name() == "postgres" and Path(each.cwd()) == data:
                found.append(each)
    ids = {each.pid for each in found}
    return sorted(found, key=lambda each: each.ppid() in ids)


def _end_left_servers(home: Path) -> None:
    """End a server that nothing has written down, and parts of one that was killed."""
    left = cluster_processes(home)
    for each in left[:1]:
        ask_to_stop(each)
    end_processes(left[:1], left[1:], _SHUTDOWN_TIMEOUT_S)


def ask_to_stop(server: psutil.Process) -> None:
    """Have a server end its connections and leave; SIGTERM would let it wait for them."""
    with suppress(psutil.NoSuchProcess):
        server.send_signal(signal.SIGINT)


@contextmanager
def serve_databases(config: Settings) -> Iterator[None]:
    """Run the server for as long as the block, for a look at what it keeps; the stack is stopped.

    Raises:
        Rejected: The databases are gone.
        Unavailable: The server does not answer.
    """
    command = prepare_postgres(config, fresh=False)
    server = subprocess.Popen(  # noqa: S603 - our own program
        command.words,
        cwd=command.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **run_as(command.owner),
    )
    try:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not is_ready(config):
            if server.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"the PostgreSQL of {config.home} does not answer: the journal is not looked at")
            time.sleep(0.1)
        yield
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(_SHUTDOWN_TIMEOUT_S)


def is_ready(config: Settings) -> bool:
    """Whether the server takes connections."""
    import psycopg  # noqa: PLC0415 - an extra, and most commands need none of it

    try:
        with psycopg.connect(config.postgres_url("postgres"), connect_timeout=_CONNECT_TIMEOUT_S):
            return True
    except psycopg.OperationalError:
        return False


def make_databases(config: Settings) -> str:
    """Make the databases that are missing, and what Prefect asks for in its own; the server's release.

    Raises:
        Unavailable: The server refuses.
    """
    import psycopg  # noqa: PLC0415 - see above

    try:
        with psycopg.connect(config.postgres_url("postgres"), autocommit=True) as connection:
            there = {str(name) for (name,) in connection.execute("SELECT datname FROM pg_database").fetchall()}
            for name in POSTGRES_DATABASES:
                if name not in there:
                    connection.execute(f"CREATE DATABASE {name}".encode())
            version = str((connection.execute("SHOW server_version").fetchone() or ("?",))[0])
        with psycopg.connect(config.postgres_url("prefect"), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except psycopg.Error as error:
        said = str(error).strip().splitlines()[0]
        raise Unavailable(
            f"PostgreSQL cannot make its databases ({said}): see {config.home}/logs/postgres.log"
        ) from error
    return version.partition(" ")[0]
