"""Store the journal in an append-only SQL table."""

import json
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

import sqlalchemy as sa

from surefoot.adapters.journal.database import (
    build_database_engine,
    create_tables,
    open_transaction,
    url_without_password,
)
from surefoot.core.errors import (
    InvariantBroken,
    JournalTampered,
    JournalUnavailable,
    OutcomeUnknown,
    StaleLedger,
)
from surefoot.core.journal.chain import GENESIS_HASH, Entry, canonical_bytes, seal_entry

_EXACT = 2**53  # JSON's numbers are doubles: every larger integer in canonical text was written by a float

JOURNAL_TABLES: Final = sa.MetaData()
ENTRIES_TABLE: Final = sa.Table(
    "entries",
    JOURNAL_TABLES,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("wall", sa.Double, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("previous", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)


class _WallClock(Protocol):
    """What the journal needs of a clock."""

    def wall(self) -> float:
        """Time of the host [Unix seconds]."""
        ...


def parse_canonical_json(text: str) -> Any:
    """Read canonical JSON back to values that canonicalise to the same text.

    Canonical JSON writes the float 1e16 with all its digits; read as an integer it could not be
    written again.
    """
    return json.loads(text, parse_int=_number)


def _number(digits: str) -> int | float:
    whole = int(digits)
    return whole if abs(whole) < _EXACT else float(digits)


class SqlJournal:
    """The append-only, hash-chained journal of every model, in one SQL table.

    Attributes:
        name: The database as messages name it, without its password.
    """

    def __init__(self, url: str, clock: _WallClock) -> None:
        """Open nothing yet; the first use creates the folder, the database and the tables.

        Args:
            url: "sqlite:///<path>" or "postgresql://...".
            clock: Tells the host's time.

        Raises:
            Rejected: The URL is malformed or of another database, or its driver is not installed.
        """
        self._engine = build_database_engine(url)
        self._clock = clock
        self._ready = False
        self.name = url_without_password(self._engine)

    def close(self) -> None:
        """Close every connection; the next use opens new ones."""
        self._engine.dispose()

    def read(self, model: str, after: int = 0) -> tuple[Entry, ...]:
        """Entries of a model with a sequence above `after`, in order.

        Raises:
            JournalTampered: An entry's data is not the canonical JSON that is ever written.
            JournalUnavailable: The database cannot be read.
        """
        query = (
            sa.select(ENTRIES_TABLE)
            .where(ENTRIES_TABLE.c.model == model, ENTRIES_TABLE.c.seq > after)
            .order_by(ENTRIES_TABLE.c.seq)
        )
        with self._transaction(writing=False) as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(_entry(row) for row in rows)

    def models(self) -> tuple[str, ...]:
        """Every model that has entries, sorted.

        Raises:
            JournalUnavailable: The database cannot be read.
        """
        with self._transaction(writing=False) as connection:
            return tuple(sorted(connection.execute(sa.select(ENTRIES_TABLE.c.model).distinct()).scalars()))

    def heads(self) -> dict[str, tuple[int, str]]:
        """Sequence and hash of the last entry of every model.

        Raises:
            JournalUnavailable: The database cannot be read.
        """
        columns = ENTRIES_TABLE.c
        last = sa.select(columns.model, sa.func.max(columns.seq).label("seq")).group_by(columns.model).subquery()
        query = sa.select(columns.model, columns.seq, columns.hash).join(
            last, (columns.model == last.c.model) & (columns.seq == last.c.seq)
        )
        with self._transaction(writing=False) as connection:
            return {row.model: (row.seq, row.hash) for row in connection.execute(query)}

    def append(self, model: str, expected: int, at: float, actor: str, kind: str, data: Mapping[str, object]) -> Entry:
        """Append one entry as number `expected` + 1; when this returns, it survives a kill and a crash.

        Raises:
            StaleLedger: Another process has appended since `expected` was read.
            InvariantBroken: The data is not JSON.
            JournalUnavailable: The database cannot be written; nothing was appended.
            OutcomeUnknown: The connection broke during the commit; read again before anything else.
        """
        text = canonical_bytes(data).decode()
        sealed: Entry | None = None
        try:
            with self._transaction(writing=True) as connection:
                head = sa.select(ENTRIES_TABLE.c.seq, ENTRIES_TABLE.c.hash).where(ENTRIES_TABLE.c.model == model)
                last = connection.execute(head.order_by(ENTRIES_TABLE.c.seq.desc()).limit(1)).first()
                seen, previous = (last.seq, last.hash) if last else (0, GENESIS_HASH)
                if seen != expected:
                    raise StaleLedger(f"journal of {model}: expected {expected} entries, found {seen}")
                wall = self._clock.wall()
                # Sealed from what a reader will read, so that the caller holds the very same entry.
                sealed = seal_entry(model, expected + 1, at, wall, actor, kind, parse_canonical_json(text), previous)
                connection.execute(sa.insert(ENTRIES_TABLE).values(**_row(sealed, text)))
        except sa.exc.IntegrityError as error:
            raise StaleLedger(
                f"journal of {model}: expected {expected} entries, found {expected + 1} or more"
            ) from error
        except OutcomeUnknown:
            if sealed is None or not self._landed(sealed):
                raise
        if sealed is None:
            raise InvariantBroken(f"journal of {model}: committed without an entry")
        return sealed

    def _landed(self, sealed: Entry) -> bool:
        """Look whether a commit of unknown outcome is there; its hash holds its wall time, so it is ours alone."""
        query = sa.select(ENTRIES_TABLE.c.hash).where(
            ENTRIES_TABLE.c.model == sealed.model, ENTRIES_TABLE.c.seq == sealed.seq
        )
        try:
            with self._transaction(writing=False) as connection:
                found = connection.execute(query).scalar()
        except JournalUnavailable:
            return False
        if found is not None and found != sealed.hash:
            raise StaleLedger(
                f"journal of {sealed.model}: expected {sealed.seq - 1} entries, found {sealed.seq} or more"
            )
        return found == sealed.hash

    def _transaction(self, *, writing: bool) -> AbstractContextManager[sa.Connection]:
        if not self._ready:
            create_tables(self._engine, JOURNAL_TABLES)
            self._ready = True
        return open_transaction(self._engine, writing=writing)


def _row(entry: Entry, text: str) -> dict[str, object]:
    return {
        "model": entry.model,
        "seq": entry.seq,
        "at": entry.at,
        "wall": entry.wall,
        "actor": entry.actor,
        "kind": entry.kind,
        "data": text,
        "previous": entry.previous,
        "hash": entry.hash,
    }


def _entry(row: sa.RowMapping) -> Entry:
    try:
        data = parse_canonical_json(row["data"])
        finite = math.isfinite(row["at"]) and math.isfinite(row["wall"])
        faithful = finite and isinstance(data, dict) and canonical_bytes(data).decode() == row["data"]
    except (ValueError, TypeError, RecursionError, InvariantBroken):
        faithful = False
    if not faithful:
        raise JournalTampered(f"journal of {row['model']}: entry {row['seq']} is not as it was ever written")
    return Entry(**{**row, "data": data})
