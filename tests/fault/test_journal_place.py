"""The journal in places where it cannot work."""

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.core.errors import JournalTampered, JournalUnavailable, Rejected
from surefoot.core.journal.chain import check_chain


def test_a_full_database_is_unavailable_and_loses_nothing(tmp_path: Path) -> None:
    """When SQLite may not grow, appends fail as JournalUnavailable; what was acknowledged stays and space heals it."""
    path = f"sqlite:///{tmp_path}/journal.db"
    full = SqlJournal(path, SystemClock())
    full.append("m", 0, 1.0, "a", "k", {})
    full.close()

    @sa.event.listens_for(full._engine, "connect")
    def _limit(raw: sqlite3.Connection, _record: object) -> None:
        raw.execute("PRAGMA max_page_count = 12")

    written = 1

    def fill_up() -> None:
        nonlocal written
        while written < 1000:
            written = full.append("m", written, 1.0, "a", "k", {"bulk": "x" * 3000}).seq

    with pytest.raises(JournalUnavailable, match="full"):
        fill_up()
    assert check_chain(full.read("m")) == written > 1
    full.close()
    healed = SqlJournal(path, SystemClock())
    assert healed.append("m", written, 1.0, "a", "k", {}).seq == written + 1
    healed.close()


def test_a_locked_database_is_unavailable(tmp_path: Path) -> None:
    """A writer that waits longer than its patience for somebody else's lock gives up and has changed nothing."""
    journal = SqlJournal(f"sqlite:///{tmp_path}/journal.db?timeout=0.1", SystemClock())
    journal.append("m", 0, 1.0, "a", "k", {})
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(JournalUnavailable, match="locked"):
        journal.append("m", 1, 1.0, "a", "k", {})
    other.execute("ROLLBACK")
    other.close()
    assert journal.append("m", 1, 1.0, "a", "k", {}).seq == 2
    journal.close()


def test_an_unusable_place_is_unavailable(tmp_path: Path) -> None:
    """A folder that cannot be, a folder in the file's place and a server that is not there are JournalUnavailable."""
    (tmp_path / "file").write_text("in the way")
    for url in (
        f"sqlite:///{tmp_path}/file/journal.db",
        f"sqlite:///{tmp_path}",
        "postgresql://u:secret@127.0.0.1:1/x",
    ):
        journal = SqlJournal(url, SystemClock())
        for use in (journal.models, lambda: journal.read("m"), lambda: journal.append("m", 0, 1.0, "a", "k", {})):  # noqa: B023
            with pytest.raises(JournalUnavailable) as caught:
                use()
            assert "secret" not in str(caught.value)


def test_a_damaged_file_is_tampering(tmp_path: Path) -> None:
    """A file that is no database stops the journal; it is not retried as if it were busy."""
    (tmp_path / "journal.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(JournalTampered, match="damaged"):
        SqlJournal(f"sqlite:///{tmp_path}/journal.db", SystemClock()).read("m")


@pytest.mark.parametrize("url", ["mysql://h/d", "nonsense", "sqlite+nosuch:///x", "postgresql://u:pw@h:port/x"])
def test_a_wrong_url_is_rejected(url: str) -> None:
    """A URL of another database, or none at all, is refused at once and without its password."""
    with pytest.raises(Rejected) as caught:
        SqlJournal(url, SystemClock())
    assert "pw" not in str(caught.value)


@contextlib.contextmanager
def _without_rights() -> Iterator[None]:
    """Have no more rights than any other account; root may write everywhere."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_journal_that_cannot_be_written_can_be_read() -> None:
    """Where nothing can be written (a full or read-only disk) reading works, writing is unavailable, and both heal."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)
        path = folder / "journal.db"
        journal = SqlJournal(f"sqlite:///{path}", SystemClock())
        for expected in range(3):
            journal.append("m", expected, 1.0, "a", "k", {})
        journal.close()
        path.chmod(0o444)
        folder.chmod(0o555)
        with _without_rights():
            assert check_chain(journal.read("m")) == 3
            assert journal.models() == ("m",)
            with pytest.raises(JournalUnavailable):
                journal.append("m", 3, 1.0, "a", "k", {})
        folder.chmod(0o755)
        path.chmod(0o644)
        assert journal.append("m", 3, 1.0, "a", "k", {}).seq == 4  # no connection is kept that sees the past alone
        assert check_chain(journal.read("m")) == 4
        journal.close()
