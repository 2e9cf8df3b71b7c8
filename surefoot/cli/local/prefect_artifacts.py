"""Edit texts in the artifacts that Surefoot's flows have left in Prefect."""

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import httpx

from surefoot.cli.local.prefect_access import open_prefect_client
from surefoot.cli.local.prefect_server import _request_prefect
from surefoot.core.errors import Unavailable
from surefoot.settings import Settings

_FLOWS = ("promote", "rollback", "watch", "reconcile", "drill", "audit", "approve")
"""Flows whose artifacts are looked at: others may share the server."""
_PAGE = 200
_PATIENCE_S = 20.0
"""How long Prefect is asked again for one answer [seconds]."""
_VACUUM_WAIT_S = 30.0
"""How long Prefect's own database is waited for [seconds]."""
_PAUSE_S = 0.1
ChangeText = Callable[[str], tuple[str, int]]
"""Gives a text as it should be, and how many places of it were changed [count]."""


def replace_in_prefect_artifacts(config: Settings, change: ChangeText) -> int:
    """Change the data and the descriptions of artifacts of our flows; how many places were changed.

    A database keeps what was overwritten until its pages are used again: that of a server that Surefoot has started
    is vacuumed.

    Raises:
        Unavailable: Prefect does not answer.
    """
    trouble = (
        "what is kept on this host is erased, but Prefect does not answer: repeat 'surefoot forget' when it does, or"
        " give --skip-servers"
    )
    total, offset = 0, 0
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
                total += count
            if len(found) < _PAGE:
                break
            offset += _PAGE
    if total and "prefect" not in config.connected:
        _vacuum(config)
    return total


def _changed(artifact: dict[str, Any], change: ChangeText) -> tuple[dict[str, object], int]:
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


def _vacuum(config: Settings) -> None:
    """Have the database of the embedded server keep nothing of what was overwritten."""
    file = config.home / "prefect" / "prefect.db"
    if not file.is_file():
        return
    try:
        with contextlib.closing(sqlite3.connect(file, timeout=_VACUUM_WAIT_S, isolation_level=None)) as database:
            database.execute("VACUUM")
            ends = time.monotonic() + _VACUUM_WAIT_S
            # What a reader still looks at cannot be overwritten, which SQLite answers with a 1 and no error.
            while database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() > ends:
                    raise Unavailable("Prefect's database is busy: repeat 'surefoot forget'")
                time.sleep(_PAUSE_S)
    except sqlite3.Error as error:
        raise Unavailable(f"Prefect's database is busy ({error}): repeat 'surefoot forget'") from error
