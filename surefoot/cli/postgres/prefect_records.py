"""Edit copies of artifacts that a Prefect server keeps in the embedded PostgreSQL."""

from collections.abc import Callable

from surefoot.core.errors import Unavailable
from surefoot.settings import Settings

_LOCK_TIMEOUT_S = 30


def replace_in_prefect_records(
    config: Settings, places: tuple[tuple[str, str], ...], change: Callable[[str], tuple[str, int]], *, changed: bool
) -> int:
    """Change texts in columns of Prefect's database; how many places were changed.

    Tables are written anew afterwards, and the log of writes is ended: neither keeps what was there before.

    Args:
        config: Where the database is.
        places: Table and column.
        change: Gives a text as it should be, and how many places of it were changed [count].
        changed: Whether other texts were changed already, of which nothing may stay either.

    Raises:
        Unavailable: The database cannot be changed.
    """
    import psycopg  # noqa: PLC0415 - an extra, and most commands need none of it
    from psycopg import sql  # noqa: PLC0415 - same

    total = 0
    try:
        with psycopg.connect(config.postgres_url("prefect"), autocommit=True) as connection:
            connection.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT_S}s'".encode())
            for table, column in places:
                names = {"table": sql.Identifier(table), "column": sql.Identifier(column)}
                read = sql.SQL("SELECT id, {column}::text, pg_typeof({column})::text FROM {table}").format(**names)
                for row, value, kind in connection.execute(read).fetchall():
                    text, count = change(value or "")
                    if count:
                        write = sql.SQL("UPDATE {table} SET {column} = %s::{kind} WHERE id = %s")
                        connection.execute(write.format(kind=sql.SQL(kind), **names), (text, row))
                    total += count
            if total or changed:
                for table in dict.fromkeys([*(table for table, _ in places), "artifact", "artifact_collection"]):
                    connection.execute(sql.SQL("VACUUM (FULL) {}").format(sql.Identifier(table)))
                connection.execute("SELECT pg_switch_wal()")
                connection.execute("CHECKPOINT")
    except psycopg.Error as error:
        said = str(error).strip().splitlines()[0]
        raise Unavailable(f"Prefect's database cannot be changed ({said}): repeat 'surefoot forget'") from error
    return total
