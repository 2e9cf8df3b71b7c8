"""Query the rows of a time window in PostgreSQL, within a time limit."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from surefoot.adapters.evidence_providers.provider_failure import ProviderFailure, ProviderProblem

_BATCH_ROWS = 5_000
_CANCELLED = "57014"
"""What PostgreSQL calls a statement that took longer than it may."""


def read_sql_rows(url: str, query: str, since: float, until: float, timeout: float) -> Iterator[list[dict[str, Any]]]:
    """Run a query whose parameters are the ends of a window.

    Args:
        url: URL of the database, with its secrets.
        query: One SELECT with the parameters :since and :until.
        since: Beginning of the window, not included [Unix seconds].
        until: End of the window [Unix seconds].
        timeout: How long the statement may take [seconds].

    Yields:
        Rows, some thousand at a time.

    Raises:
        ProviderFailure: The URL is malformed, the database does not answer, or it refuses the query.
    """
    engine = _engine(url, timeout)
    edges = {"since": datetime.fromtimestamp(since, UTC), "until": datetime.fromtimestamp(until, UTC)}
    try:
        with engine.connect() as connection, connection.begin():
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(timeout * 1000)}")
            found = connection.execution_options(stream_results=True, yield_per=_BATCH_ROWS)
            for part in found.execute(sa.text(query), edges).mappings().partitions(_BATCH_ROWS):
                yield [dict(row) for row in part]
    except sa.exc.SQLAlchemyError as error:
        raise _failure(error, timeout) from error
    finally:
        engine.dispose()


def _engine(url: str, timeout: float) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # not repeated: it may hold a password
        raise ProviderFailure(ProviderProblem.UNUSABLE, "its URL is malformed") from None
    if parsed.drivername.partition("+")[0] not in {"postgresql", "postgres"}:
        said = f"a query runs in PostgreSQL, not in {parsed.drivername}"
        raise ProviderFailure(ProviderProblem.UNUSABLE, said)
    patience = {"connect_timeout": str(max(int(timeout), 2))}
    parsed = parsed.set(drivername="postgresql+psycopg", query={**patience, **parsed.query})
    try:
        return sa.create_engine(parsed, poolclass=sa.pool.NullPool)
    except ModuleNotFoundError as error:
        said = "PostgreSQL needs psycopg: pip install 'surefoot[postgres]'"
        raise ProviderFailure(ProviderProblem.UNUSABLE, said) from error


def _failure(error: sa.exc.SQLAlchemyError, timeout: float) -> ProviderFailure:
    """What an error of the database means."""
    cause = getattr(error, "orig", None)
    state = str(getattr(cause, "sqlstate", None) or "")
    said = str(cause or error).strip().partition("\n")[0]
    if state == _CANCELLED:
        return ProviderFailure(ProviderProblem.SLOW, f"the query took more than {timeout:g} s")
    refused = state[:2] in {"22", "25", "28", "3D", "42"} or not isinstance(error, sa.exc.DBAPIError)
    return ProviderFailure(ProviderProblem.UNUSABLE if refused else ProviderProblem.DOWN, said)
