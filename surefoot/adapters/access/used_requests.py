"""Record which flow-run requests have been used, so that each request counts once."""

import sqlite3
from contextlib import closing
from pathlib import Path

from surefoot.core.errors import Unavailable

USED_REQUESTS_FILE = "requests.db"
"""Name of the file in the state folder."""
_KEPT_S = 7 * 86_400.0
"""How long a request is kept after its end [s]; it is refused by its time then, whatever a clock does meanwhile."""


class UsedRequests:
    """Nonces of the requests that have begun something, each with the run that it belongs to."""

    def __init__(self, home: Path) -> None:
        """Open nothing yet.

        Args:
            home: Folder of all state.
        """
        self._path = home / USED_REQUESTS_FILE

    def claim(self, nonce: str, run: str, now: float, expires: float) -> bool:
        """Let a request belong to a run; False where it belongs to another one.

        Args:
            nonce: Nonce of the request.
            run: Id and attempt of the flow run, which may claim it again when a task of it is tried again; empty
                where the run has no id, and then nothing may.
            now: Time of the host [Unix seconds].
            expires: When the request stops to count [Unix seconds].

        Raises:
            Unavailable: The file cannot be written.
        """
        try:
            with closing(sqlite3.connect(self._path, timeout=5.0)) as database, database:
                database.execute("PRAGMA synchronous=FULL")
                database.execute(
                    "CREATE TABLE IF NOT EXISTS requests (nonce TEXT PRIMARY KEY, run TEXT, expires REAL) WITHOUT ROWID"
                )
                fresh = database.execute("INSERT OR IGNORE INTO requests VALUES (?, ?, ?)", (nonce, run, expires))
                if fresh.rowcount == 1:
                    database.execute("DELETE FROM requests WHERE expires < ?", (now - _KEPT_S,))
                    return True
                held = database.execute("SELECT run FROM requests WHERE nonce = ?", (nonce,)).fetchone()
                return bool(run) and held is not None and held[0] == run
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(f"{self._path} cannot be written ({error}): no request counts until it can") from error
