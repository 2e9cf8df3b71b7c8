"""Checkpoint a SQL output table, and remove the rows that rolled-back versions appended to it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from surefoot.adapters.datalayer.row_digest import RowDigest, canonical_value
from surefoot.core.errors import DataTampered, DataUnavailable, NewerWrite, NotFound, Rejected, TableNotReachable
from surefoot.core.policy.recovery.data_layer import SqlSource
from surefoot.core.tables.table_checkpoint import RestoreResult, TableCheckpoint, TableDigest

_LOCK_TIMEOUT_S = 10
"""How long a lock on the table is waited for [s]."""
_BATCH_ROWS = 10_000
_WRITES = "surefoot_writes"
_SCRATCH = "surefoot_scratch"
_NAMED_ROWS = 3
"""Newer rows that a refusal names [count]."""


def build_table_engine(url: str, name: str) -> sa.Engine:
    """Configure the database of a table without connecting to it.

    Raises:
        Rejected: The URL is malformed or of another database.
        TableNotReachable: Its driver is not installed.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError) as error:  # not repeated: it may hold a password
        raise Rejected(f"table {name}: the URL of its database is malformed") from error
    family = parsed.drivername.partition("+")[0]
    if family == "sqlite":
        engine = sa.create_engine(parsed, connect_args={"timeout": _LOCK_TIMEOUT_S})
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine
    if family in {"postgresql", "postgres"}:
        patience = {"connect_timeout": str(_LOCK_TIMEOUT_S)}
        parsed = parsed.set(drivername="postgresql+psycopg", query={**patience, **parsed.query})
        try:
            engine = sa.create_engine(parsed)
        except ModuleNotFoundError as error:
            raise TableNotReachable(f"table {name}: PostgreSQL needs psycopg: install surefoot[postgres]") from error
        return engine
    raise Rejected(f"table {name}: a table is kept in SQLite or PostgreSQL, not in {parsed.drivername}")


def _prepare_sqlite(raw: Any, _record: object) -> None:
    raw.isolation_level = None  # Python's driver would otherwise begin a transaction of its own, too late


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer takes the lock before it reads: a read that has to become a write may fail at once.
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@dataclass(frozen=True, slots=True)
class SqlTable:
    """One append-only SQL table, which can be checkpointed and restored.

    Attributes:
        engine: Its database.
        source: What the policy says of it.
    """

    engine: sa.Engine
    source: SqlSource

    def digest(self) -> TableDigest:
        """What the table holds now."""
        with self._transaction(writing=False) as (connection, table):
            return _digest(connection, table)

    def checkpoint(self) -> TableCheckpoint:
        """Note the last validity and what is valid by then."""
        with self._transaction(writing=False) as (connection, table):
            last = connection.execute(sa.select(sa.func.max(table.c[self.source.valid_from]))).scalar()
            return TableCheckpoint(_write_position(last), _digest(connection, table, self._covered(table, last)))

    def verify_restorable(self, checkpoint: TableCheckpoint) -> None:
        """Restore into a temporary table; its rows read back, and a set difference by the database, are compared."""
        with self._transaction(writing=False) as (connection, table):
            self._verify(connection, table, checkpoint)

    def _verify(self, connection: sa.Connection, table: sa.Table, checkpoint: TableCheckpoint) -> None:
        last = _read_position(checkpoint.position)
        covered = self._covered(table, last)
        found = _digest(connection, table, covered)
        if found != checkpoint.content:
            raise DataTampered(
                f"{_difference(checkpoint.content, found)}: rows that table {self.source.table} had at the checkpoint"
                " were changed, removed or added since"
            )
        scratch = sa.Table(
            _SCRATCH, sa.MetaData(), *(sa.Column(one.name, one.type) for one in table.columns), prefixes=["TEMPORARY"]
        )
        scratch.create(connection)
        names = [one.name for one in table.columns]
        connection.execute(sa.insert(scratch).from_select(names, sa.select(table)))
        connection.execute(sa.delete(scratch).where(self._newer(scratch, last)))
        copied = _digest(connection, scratch)
        if copied.digest != checkpoint.content.digest:
            raise DataTampered(f"{_difference(checkpoint.content, copied)} in a scratch copy of {self.source.table}")
        for one, other in (
            (_texts(table).where(covered), _texts(scratch)),
            (_texts(scratch), _texts(table).where(covered)),
        ):
            rows = connection.execute(sa.select(sa.func.count()).select_from(one.except_(other).subquery())).scalar()
            if rows:
                raise DataTampered(
                    f"{rows} rows of a scratch copy of {self.source.table} are not those of the checkpoint"
                )
        scratch.drop(connection)

    def restore(self, checkpoint: TableCheckpoint, versions: tuple[str, ...], intent: str) -> RestoreResult:  # noqa: ARG002 - the port's: rows tell what is done
        """Remove the rows that some versions have added since, in one transaction that keeps other writers out."""
        last = _read_position(checkpoint.position)
        self.verify_restorable(checkpoint)  # before the lock: writers wait for nothing that could be done without it
        with self._transaction(writing=True) as (connection, table):
            self._lock(connection, table)
            newer = self._newer(table, last)
            writer = sa.cast(table.c[self.source.version_column], sa.String)
            own = sa.and_(newer, writer.in_(versions))
            others = sa.and_(newer, sa.or_(writer.is_(None), writer.not_in(versions)))
            count = sa.select(sa.func.count()).select_from(table)
            if not connection.execute(count.where(own)).scalar():
                content = checkpoint.content.digest
                return RestoreResult(content, content, already=True)
            if found := connection.execute(count.where(others)).scalar():
                raise NewerWrite(
                    f"{found} rows of {self.source.table} were written since the checkpoint by"
                    f" {self._named(connection, table, others, writer)}"
                )
            before = _digest(connection, table)
            connection.execute(sa.delete(table).where(own))
            after = _digest(connection, table)
            if after != checkpoint.content:
                raise DataTampered(f"{_difference(checkpoint.content, after)} after the restore: it was undone")
            return RestoreResult(before.digest, after.digest, already=False)

    def _named(self, connection: sa.Connection, table: sa.Table, others: Any, writer: Any) -> str:
        """Who has written the newer rows, and some of them by key."""
        keys = [table.c[name] for name in self.source.key if name in table.c]
        rows = connection.execute(sa.select(writer, *keys).where(others).limit(_NAMED_ROWS)).all()
        versions = sorted({f"version {row[0]}" if row[0] is not None else "an unnamed version" for row in rows})
        named = [", ".join(f"{key.name}={one}" for key, one in zip(keys, row[1:], strict=True)) for row in rows]
        return f"{' and '.join(versions)}" + (f" ({'; '.join(named)})" if keys else "")

    def _covered(self, table: sa.Table, last: object) -> Any:
        """Rows that were valid at the checkpoint."""
        column = table.c[self.source.valid_from]
        return column.is_(None) if last is None else sa.or_(column <= last, column.is_(None))

    def _newer(self, table: sa.Table, last: object) -> Any:
        """Rows that became valid since."""
        column = table.c[self.source.valid_from]
        return column.is_not(None) if last is None else column > last

    def _lock(self, connection: sa.Connection, table: sa.Table) -> None:
        """Keep other writers out until the transaction ends; SQLite does so from its beginning."""
        if self.engine.dialect.name == "postgresql":
            name = self.engine.dialect.identifier_preparer.format_table(table)
            connection.exec_driver_sql(f"LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE")

    @contextmanager
    def _transaction(self, *, writing: bool) -> Iterator[tuple[sa.Connection, sa.Table]]:
        """One transaction on the table.

        Raises:
            NotFound: There is no such table or column.
            DataUnavailable: The database does not answer, or another writer keeps the table locked.
        """
        schema, _, name = self.source.table.rpartition(".")
        try:
            with self._connect(writing=writing) as connection, connection.begin():
                if writing and self.engine.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_S}s'")
                try:
                    table = sa.Table(name, sa.MetaData(), schema=schema or None, autoload_with=connection)
                except sa.exc.NoSuchTableError as error:
                    raise NotFound(f"there is no table {self.source.table}") from error
                for column in (self.source.valid_from, self.source.version_column):
                    if column not in table.c:
                        raise NotFound(f"table {self.source.table} has no column '{column}'")
                yield connection, table
        except sa.exc.SQLAlchemyError as error:
            said = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
            raise DataUnavailable(f"table {self.source.table} cannot be used: {said}") from error

    def _connect(self, *, writing: bool) -> sa.Connection:
        """A connection whose transactions read one state of the database, or write to its newest."""
        connection = self.engine.connect().execution_options(**{_WRITES: writing})
        if self.engine.dialect.name != "postgresql":
            return connection
        # Under a lock each statement must see what was committed before it, also since the transaction began.
        return connection.execution_options(isolation_level="READ COMMITTED" if writing else "REPEATABLE READ")


def _digest(connection: sa.Connection, table: sa.Table, which: Any = None) -> TableDigest:
    """Digest of the rows that are meant; all without a condition.

    Raises:
        DataTampered: A row holds what its column cannot: its database, or its file, is damaged.
    """
    columns = {one.name: str(one.type) for one in table.columns}
    query = sa.select(*(table.c[name] for name in sorted(columns)))
    found = RowDigest(columns)
    rows = connection.execute(query if which is None else query.where(which)).yield_per(_BATCH_ROWS)
    try:
        for part in rows.partitions():
            found.add([canonical_value(one) for one in row] for row in part)
    except (TypeError, ValueError, ArithmeticError) as error:  # the driver's own, of a value that it cannot convert
        raise DataTampered(f"a row of table {table.name} holds what its column cannot: {error}") from error
    return found.finish()


def _texts(table: sa.Table) -> Any:
    """All columns in types that can be compared: JSON cannot."""
    columns = [sa.cast(one, sa.Text) if isinstance(one.type, sa.JSON) else one for one in table.columns]
    return sa.select(*columns)


def _difference(wanted: TableDigest, found: TableDigest) -> str:
    """How two contents differ, in one clause."""
    if wanted.schema != found.schema:
        return "other columns"
    if wanted.rows != found.rows:
        return f"{found.rows} rows instead of {wanted.rows}"
    return "other values"


def _write_position(last: object) -> str:
    """The last validity as text."""
    match last:
        case None | bool() | int() | float() | str():
            return json.dumps(["plain", last])
        case datetime():
            return json.dumps(["timestamp", last.isoformat()])
        case date():
            return json.dumps(["date", last.isoformat()])
        case Decimal():
            return json.dumps(["decimal", str(last)])
        case _:
            raise Rejected(f"a validity of type {type(last).__name__} cannot be compared: use a time stamp or a number")


def _read_position(text: str) -> object:
    """The last validity as the database compares it."""
    kind, value = json.loads(text)
    match kind:
        case "timestamp":
            return datetime.fromisoformat(value)
        case "date":
            return date.fromisoformat(value)
        case "decimal":
            return Decimal(value)
        case _:
            return value
