"""Edit the texts of artifacts that Surefoot's flows have stored in Prefect."""

import contextlib
import datetime as dt
import json
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import httpx

from surefoot.cli.local.prefect_access import open_prefect_client
from surefoot.cli.local.prefect_server import _request_prefect
from surefoot.cli.postgres.prefect_records import replace_in_prefect_records
from surefoot.core.errors import Unavailable
from surefoot.settings import Settings

_FLOWS = ("promote", "rollback", "watch", "reconcile", "drill", "audit", "approve")
"""Flows whose artifacts are looked at: others may share the server."""
_PAGE = 200
_PATIENCE_S = 20.0
"""How long Prefect is asked again for one answer [seconds]."""
_DATABASE_WAIT_S = 30.0
"""How long Prefect's own database is waited for [seconds]."""
_PAUSE_S = 0.1
_FRESH_S, _EVENTS_AFTER_S = 120.0, 12.0
"""Age up to which an artifact's event may not be written yet, since Prefect writes events every five seconds, and how
long `forget` waits for it then [seconds]."""
_COPIES = (("events", "payload"), ("log", "message"))
"""Tables and columns of Prefect's database that hold copies of artifacts, and texts that flows have logged."""
_ChangeText = Callable[[str], tuple[str, int]]
"""Gives a text as it should be, and how many places of it were changed [count]."""


def replace_in_prefect_artifacts(config: Settings, change: _ChangeText) -> int:
    """Change the data and the descriptions of artifacts of our flows; how many places were changed.

    Prefect keeps a copy of each artifact in its events, and no request changes these, nor the logs of runs. They are
    changed in the database of a server that Surefoot has started; elsewhere they go when Prefect's retention ends.

    Raises:
        Unavailable: Prefect does not answer.
    """
    trouble = (
        "what is kept on this host is erased, but Prefect does not answer: repeat 'surefoot forget' when it does, or"
        " give --skip-servers"
    )
    total, offset, fresh = 0, 0, False
    with open_prefect_client(config) as api:

        def ask(method: str, path: str, body: object) -> httpx.Response:
            return _request_prefect(config, method, path, trouble, body, _PATIENCE_S, api)

        while True:
            body = {"flows": {"name": {"any_": list(_FLOWS)}}, "limit": _PAGE, "offset": offset, "sort": "ID_DESC"}
            found = ask("POST", "/artifacts/filter", body).json()
            for one in found:
                changed, count = _changed(one, change)
                if count:
                    ask("PATCH", f"/artifacts/{one['id']}", changed)
                    fresh = fresh or _is_fresh(one)
                total += count
            if len(found) < _PAGE:
                break
            offset += _PAGE
    if config.postgres and "prefect" not in config.connected:
        if fresh:
            time.sleep(_EVENTS_AFTER_S)
        return total + replace_in_prefect_records(config, _COPIES, change, changed=bool(total))
    file = config.home / "prefect" / "prefect.db"
    if "prefect" in config.connected or not file.is_file():
        return total
    try:
        with contextlib.closing(sqlite3.connect(file, timeout=_DATABASE_WAIT_S, isolation_level=None)) as database:
            if fresh:
                time.sleep(_EVENTS_AFTER_S)
            total += sum(_replace_in_column(database, table, column, change) for table, column in _COPIES)
            if total:
                _overwrite_free_pages(database)
    except sqlite3.Error as error:
        raise Unavailable(f"Prefect's database cannot be changed ({error}): repeat 'surefoot forget'") from error
    return total


def _is_fresh(artifact: dict[str, Any]) -> bool:
    """Whether Prefect may still have to write the event that copies an artifact."""
    try:
        created = dt.datetime.fromisoformat(str(artifact["created"])).timestamp()
    except (KeyError, ValueError):
        return True
    return time.time() - created < _FRESH_S


def _changed(artifact: dict[str, Any], change: _ChangeText) -> tuple[dict[str, object], int]:
    """What of an artifact is another text now, and how many places are."""
    changed: dict[str, object] = {}
    total = 0
    for key in ("data", "description"):
        value = artifact.get(key)
        if value is None:
            continue
        text, count = change(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        if count:
            changed[key] = text if isinstance(value, str) else json.loads(text)
        total += count
    return changed, total


def _replace_in_column(database: sqlite3.Connection, table: str, column: str, change: _ChangeText) -> int:
    total = 0
    for row, value in database.execute(f"SELECT rowid, {column} FROM {table}").fetchall():  # noqa: S608 - constants
        text, count = change(str(value or ""))
        if count:
            database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (text, row))  # noqa: S608 - same
        total += count
    return total


def _overwrite_free_pages(database: sqlite3.Connection) -> None:
    """Have a database keep nothing of what was changed: neither free pages nor a log of writes.

    Raises:
        Unavailable: A reader looks at the old pages for too long.
    """
    database.execute("VACUUM")
    ends = time.monotonic() + _DATABASE_WAIT_S
    # What a reader still looks at cannot be overwritten, which SQLite answers with a 1 and no error.
    while database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if time.monotonic() > ends:
            raise Unavailable("Prefect's database is busy: repeat 'surefoot forget'")
        time.sleep(_PAUSE_S)
