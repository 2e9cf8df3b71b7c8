"""Record the ids of received webhooks, to recognise repeated deliveries."""

import sqlite3
from contextlib import closing
from pathlib import Path

from surefoot.core.errors import Unavailable

DELIVERIES_FILE = "webhooks.db"
"""Name of the file in the state folder."""
_MOST = 10_000
"""Ids that are kept [count]; only those of webhooks with a right signature come here."""


class DeliveryStore:
    """Ids of webhooks that were taken."""

    def __init__(self, home: Path) -> None:
        """Open nothing yet.

        Args:
            home: Folder of all state.
        """
        self._path = home / DELIVERIES_FILE

    def take(self, delivery: str, now: float, keep_s: float) -> bool:
        """Record an id; False where it was there already.

        Args:
            delivery: Id of the delivery.
            now: Time of the host [Unix seconds].
            keep_s: How long an id must be kept [s]; older webhooks are refused by their time.

        Raises:
            Unavailable: The file cannot be written.
        """
        try:
            with closing(sqlite3.connect(self._path, timeout=5.0)) as database, database:
                database.execute("CREATE TABLE IF NOT EXISTS deliveries (id TEXT PRIMARY KEY, at REAL) WITHOUT ROWID")
                fresh = database.execute("INSERT OR IGNORE INTO deliveries VALUES (?, ?)", (delivery, now)).rowcount
                database.execute("DELETE FROM deliveries WHERE at < ?", (now - keep_s,))
                database.execute(
                    "DELETE FROM deliveries WHERE id NOT IN (SELECT id FROM deliveries ORDER BY at DESC LIMIT ?)",
                    (_MOST,),
                )
                return fresh == 1
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(f"{self._path} cannot be written ({error}): send the webhook again") from error
