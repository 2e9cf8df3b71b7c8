"""Check that the journal's database answers and can be written."""

import tempfile
from pathlib import Path

import sqlalchemy as sa

from surefoot.adapters.journal.database import build_database_engine, open_transaction, url_without_password
from surefoot.core.errors import JournalUnavailable, Rejected

_WRONG_PASSWORD = ("password authentication failed", "no password supplied", "authentication failed")


def check_journal_database(url: str, tables: tuple[str, ...]) -> str:
    """Connect to the database and look which rights we have; nothing is created.

    Args:
        url: SQLAlchemy URL with its secrets.
        tables: Tables that must be there, or be created.

    Returns:
        What was found, without a password.

    Raises:
        JournalUnavailable: The database does not answer.
        Rejected: The URL is wrong, or the database refuses us.
    """
    engine = build_database_engine(url)
    try:
        name = url_without_password(engine)
        if engine.dialect.name == "sqlite":
            return f"SQLite at {_check_folder(engine.url.database or '')}"
        return _check_postgres(engine, name, tables)
    finally:
        engine.dispose()


def _check_folder(database: str) -> str:
    """Whether SQLite can write its file there."""
    folder = Path(database).parent
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return database
    except OSError as error:
        raise Rejected(f"the journal {database} cannot be written ({error.strerror}): name another place") from error


def _check_postgres(engine: sa.Engine, name: str, tables: tuple[str, ...]) -> str:
    try:
        with open_transaction(engine, writing=False) as connection:
            version = str(connection.exec_driver_sql("SHOW server_version").scalar()).partition(" ")[0]
            schema = connection.exec_driver_sql("SELECT current_schema()").scalar()
            there = set(sa.inspect(connection).get_table_names()) if schema else set[str]()
            may_create = bool(schema) and bool(
                connection.execute(sa.text("SELECT has_schema_privilege(current_schema(), 'CREATE')")).scalar()
            )
            unwritable = [
                table
                for table in tables
                if table in there
                and not connection.execute(
                    sa.text("SELECT has_table_privilege(:t, 'SELECT') AND has_table_privilege(:t, 'INSERT')"),
                    {"t": f'"{table}"'},
                ).scalar()
            ]
    except JournalUnavailable as error:
        raise _refusal(str(error.__cause__), name, engine.url) from error
    missing = [table for table in tables if table not in there]
    if missing and not may_create:
        raise Rejected(
            f"the user of the journal {name} may not create table {missing[0]} there: GRANT CREATE ON SCHEMA"
            f" {schema or 'public'} TO {engine.url.username or 'it'}"
        )
    if unwritable:
        raise Rejected(f"the user of the journal {name} may not read and write table {unwritable[0]}: GRANT it")
    return f"PostgreSQL {version} at {name}"


def _refusal(said: str, name: str, url: sa.URL) -> JournalUnavailable | Rejected:
    """Why no connection was made."""
    if any(words in said for words in _WRONG_PASSWORD):
        return Rejected(
            f"the journal {name} refuses user {url.username}: correct the password, in ~/.pgpass or in the variable"
            " that the URL names"
        )
    if "does not exist" in said:
        what = f"role {url.username}" if "role " in said else f"database {url.database}"
        return Rejected(f"the journal {name} has no {what}: create it, or correct the URL")
    line = said.strip().splitlines()[0] if said.strip() else "no answer"
    return JournalUnavailable(f"the journal {name} does not answer ({line[:120]}): start it, or correct the URL")
