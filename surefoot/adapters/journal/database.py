"""Connect to the journal's database in SQLite or PostgreSQL, create its tables, and open transactions."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from sqlite3 import (
    SQLITE_BUSY,
    SQLITE_CANTOPEN,
    SQLITE_CORRUPT,
    SQLITE_FULL,
    SQLITE_IOERR,
    SQLITE_LOCKED,
    SQLITE_NOTADB,
    SQLITE_READONLY,
)
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from surefoot.core.errors import JournalTampered, JournalUnavailable, OutcomeUnknown, Rejected, SurefootError

_LOCK_TIMEOUT_S = 10  # a writer's turn takes milliseconds: a longer wait is for something broken
_WRITES = "surefoot_writes"
_ONE_CREATOR = 0x73757265666F6F74  # key of the advisory lock under which PostgreSQL creates the tables

# SQLite has undone the whole commit when it answers one of these; after any other it may have reached the disk.
_SQLITE_BUSY = frozenset({SQLITE_BUSY, SQLITE_LOCKED})
_SQLITE_UNDONE = _SQLITE_BUSY | {SQLITE_FULL, SQLITE_READONLY}
_SQLITE_UNWRITABLE = frozenset({SQLITE_CANTOPEN, SQLITE_FULL, SQLITE_IOERR, SQLITE_READONLY})
_SQLITE_BROKEN = frozenset({SQLITE_CORRUPT, SQLITE_NOTADB})
# The same for PostgreSQL, by class of SQLSTATE: constraint, transaction state, rollback, resources.
_POSTGRES_UNDONE = frozenset({"23", "25", "40", "53"})
_POSTGRES_BROKEN = frozenset({"XX001", "XX002"})


def build_database_engine(url: str) -> sa.Engine:
    """Configure a database without connecting to it.

    Raises:
        Rejected: The URL is malformed or of another database, or its driver is not installed.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError) as error:
        # Not repeated in the message: a malformed URL may still hold a password.
        raise Rejected(
            'the journal needs a URL such as "sqlite:///<path>" or "postgresql://<host>/<database>"'
        ) from error
    family = parsed.drivername.partition("+")[0]
    if parsed.drivername == "sqlite":
        asked = parsed.set(query={"timeout": str(_LOCK_TIMEOUT_S), **parsed.query})
        path = parsed.database or ""
        plain = path not in {"", ":memory:"} and not path.startswith("file:") and not parsed.query
        engine = sa.create_engine(asked, creator=partial(_connect_sqlite, path)) if plain else sa.create_engine(asked)
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "checkin", _drop_snapshot)
        sa.event.listen(engine, "begin", _begin_sqlite)
    elif family in {"postgresql", "postgres"}:
        # libpq waits for ever by default, for a host that is gone as well.
        patience = {"connect_timeout": str(_LOCK_TIMEOUT_S), "tcp_user_timeout": str(_LOCK_TIMEOUT_S * 1000)}
        parsed = parsed.set(drivername="postgresql+psycopg", query={**patience, **parsed.query})
        try:
            engine = sa.create_engine(parsed, pool_pre_ping=True)
        except ModuleNotFoundError as error:
            raise Rejected("a journal in PostgreSQL needs psycopg: install surefoot[postgres]") from error
        sa.event.listen(engine, "begin", _begin_postgres)
    else:
        raise Rejected(f"a journal is kept in SQLite or PostgreSQL, not in {parsed.drivername}")
    return engine


def url_without_password(engine: sa.Engine) -> str:
    """The database as messages name it, without its password."""
    return engine.url.set(query={}).render_as_string(hide_password=True)


def create_tables(engine: sa.Engine, tables: sa.MetaData) -> None:
    """Create the folder, the database and the tables where they are missing; safe when several do it at once.

    Raises:
        JournalUnavailable: They cannot be created.
    """
    path = engine.url.database or ""
    # "file:" begins a SQLite URI, which opens only what is there unless it says otherwise.
    if engine.dialect.name == "sqlite" and path not in {"", ":memory:"} and not path.startswith("file:"):
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JournalUnavailable(
                f"the folder of the journal {url_without_password(engine)} cannot be created: {error}"
            ) from error
    # Looked for first: an auditor's read-only copy can be read although nothing can be created in it.
    with open_transaction(engine, writing=False) as connection:
        there = set(sa.inspect(connection).get_table_names())
    if there.issuperset(tables.tables):
        return
    with open_transaction(engine, writing=True) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ONE_CREATOR)))
        for table in tables.sorted_tables:
            connection.execute(CreateTable(table, if_not_exists=True))


@contextmanager
def open_transaction(engine: sa.Engine, *, writing: bool) -> Iterator[sa.Connection]:
    """One transaction, committed on the way out.

    Raises:
        JournalUnavailable: The database cannot be used; nothing was changed.
        JournalTampered: The database's file is damaged.
        OutcomeUnknown: The connection broke during the commit.
    """
    committing = False
    try:
        with engine.connect().execution_options(**{_WRITES: writing}) as connection, connection.begin() as unit:
            yield connection
            committing = writing
            unit.commit()
    except sa.exc.IntegrityError:
        raise  # only the caller knows what the clash means
    except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
        raise _failure(error, url_without_password(engine), committing=committing) from error


def _failure(error: sa.exc.SQLAlchemyError, name: str, *, committing: bool) -> SurefootError:
    said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    if _broken(error):
        return JournalTampered(f"the journal {name} is damaged: {said}")
    if committing and not _undone(error):
        return OutcomeUnknown(f"the journal {name} did not confirm a commit: {said}")
    if isinstance(error, sa.exc.DataError):
        return Rejected(f"the journal {name} cannot hold this: {said}")
    return JournalUnavailable(f"the journal {name} cannot be used: {said}")


def _broken(error: sa.exc.SQLAlchemyError) -> bool:
    code, state = _codes(error)
    return code in _SQLITE_BROKEN or state in _POSTGRES_BROKEN


def _undone(error: sa.exc.SQLAlchemyError) -> bool:
    code, state = _codes(error)
    return code in _SQLITE_UNDONE or state[:2] in _POSTGRES_UNDONE


def _codes(error: sa.exc.SQLAlchemyError) -> tuple[int, str]:
    original = getattr(error, "orig", None)
    # The low byte is SQLite's primary code; the rest says which of its system calls failed.
    return getattr(original, "sqlite_errorcode", 0) & 0xFF, getattr(original, "sqlstate", "") or ""


class _Snapshot(sqlite3.Connection):
    """A connection to a file that cannot be written; it sees the file as it was when it was opened."""


def _connect_sqlite(path: str) -> sqlite3.Connection:
    """Open a file; where SQLite cannot write beside it (a full or read-only disk), open it for reading alone.

    Raises:
        sqlite3.Error: It cannot be read either, or another connection has entries that are not in the file yet.
    """
    try:
        raw = sqlite3.connect(path, timeout=_LOCK_TIMEOUT_S, check_same_thread=False)
        try:
            _write_ahead(raw)
            raw.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.Error:
            raw.close()
            raise
    except sqlite3.OperationalError as error:
        ahead = Path(f"{path}-wal")
        unwritable = (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _SQLITE_UNWRITABLE
        if not unwritable or not Path(path).is_file() or (ahead.is_file() and ahead.stat().st_size):
            raise
        uri = f"file:{quote(str(Path(path).absolute()))}?mode=ro&immutable=1"
        return sqlite3.connect(uri, uri=True, timeout=_LOCK_TIMEOUT_S, check_same_thread=False, factory=_Snapshot)
    return raw


def _write_ahead(raw: sqlite3.Connection) -> None:
    """Let readers and a writer work beside each other; SQLite itself does not wait for this lock, so wait here.

    Raises:
        sqlite3.Error: The file cannot be written, or another connection locks it for longer than a write takes.
    """
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            raw.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _drop_snapshot(raw: Any, record: Any) -> None:
    """Keep no connection that does not see later writes."""
    if isinstance(raw, _Snapshot):
        record.invalidate()


def _prepare_sqlite(raw: Any, _record: object) -> None:
    raw.isolation_level = None  # Python's driver would otherwise begin a transaction of its own, too late
    if isinstance(raw, _Snapshot):
        return
    _write_ahead(raw)
    raw.execute("PRAGMA synchronous=FULL")  # acknowledged means on the disk


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer takes the lock before it reads the head: a read that has to become a write may fail at once.
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_postgres(connection: sa.Connection) -> None:
    if connection.get_execution_options().get(_WRITES):
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_S}s'")
