"""The journal against real SQLite and real PostgreSQL."""

import contextlib
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest
import sqlalchemy as sa

from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal.sql_journal import ENTRIES_TABLE, SqlJournal
from surefoot.core.errors import Conflict, InvariantBroken, JournalTampered, JournalUnavailable
from surefoot.core.journal.chain import check_chain, seal_entry

# One writer of a race: appends until the chain is long enough, and says which numbers it won.
RACER = """
import sys
from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.core.errors import Conflict
url, name, goal = sys.argv[1], sys.argv[2], int(sys.argv[3])
journal, head = SqlJournal(url, SystemClock()), 0
while head < goal:
    try:
        head = journal.append("m", head, 1.5, name, "Raced", {"by": name}).seq
        print(head, flush=True)
    except Conflict:
        head = len(journal.read("m"))
"""


class Wall:
    """A wall clock that a test sets."""

    def __init__(self, at: float = 1000.0) -> None:
        self.at = at

    def wall(self) -> float:
        """The time that the test set [Unix seconds]."""
        return self.at


@pytest.fixture
def journal(journal_url: str) -> Iterator[SqlJournal]:
    """An empty journal on the host's clock."""
    opened = SqlJournal(journal_url, SystemClock())
    yield opened
    opened.close()


def _fill(journal: SqlJournal, count: int) -> None:
    for seq in range(count):
        journal.append("m", seq, 100.0 + seq, "cli:ada", "Happened", {"n": seq})


def _execute(journal: SqlJournal, *statements: str) -> None:
    with journal._engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def _renumber(journal: SqlJournal, *moves: tuple[int, int]) -> None:
    with journal._engine.begin() as connection:
        for old, new in moves:
            connection.execute(sa.update(ENTRIES_TABLE).where(ENTRIES_TABLE.c.seq == old).values(seq=new))


def test_what_was_appended_is_read_back(journal: SqlJournal) -> None:
    """Unicode, floats of every size, nesting and order come back equal and hash to the same chain."""
    data = {
        "né\u0000e": "☂ \U0001f6b2 \\u0041 'quoted' %s :x",
        "floats": [0.1, -0.0, 1e16, 1.2345678901234567e20, 1e300, 5e-324, 1.0],
        "deep": {"list": [None, True, {"z": 1, "a": []}]},
    }
    first = journal.append("modèle", 0, 0.1 + 0.2, "flow:promote", "Measured", data)
    second = journal.append("modèle", 1, 2, "cli:ada", "Signed", {})
    journal.append("another", 0, 1.0, "cli:ada", "Signed", {"k": (1, 2)})
    assert journal.read("modèle") == (first, second)
    assert journal.read("modèle", after=1) == (second,)
    assert first.data["floats"] == data["floats"]
    assert check_chain(journal.read("modèle")) == 2
    assert journal.read("another")[0].data == {"k": [1, 2]}
    assert journal.models() == ("another", "modèle")
    assert journal.read("nobody") == ()


def test_an_append_on_the_wrong_head_conflicts(journal: SqlJournal) -> None:
    """A head that is not the expected one is a Conflict that names both, and nothing is appended."""
    _fill(journal, 2)
    for expected in (0, 1, 5):
        with pytest.raises(Conflict, match=rf"expected {expected} entries, found 2"):
            journal.append("m", expected, 1.0, "a", "k", {})
    assert len(journal.read("m")) == 2


def test_what_is_not_json_is_not_appended(journal: SqlJournal) -> None:
    """NaN, in the data or as the time, appends nothing."""
    with pytest.raises(InvariantBroken):
        journal.append("m", 0, 1.0, "a", "k", {"rate": float("nan")})
    with pytest.raises(InvariantBroken):
        journal.append("m", 0, float("nan"), "a", "k", {})
    assert journal.models() == ()


def test_threads_race_and_one_wins_each_number(journal: SqlJournal) -> None:
    """Four threads on one journal: each number is won once, nothing is skipped, every loss is a Conflict."""

    def race(name: str) -> list[int]:
        won, head = [], 0
        while head < 40:
            try:
                head = journal.append("m", head, 1.5, name, "Raced", {"by": name}).seq
                won.append(head)
            except Conflict:
                head = len(journal.read("m"))
        return won

    with ThreadPoolExecutor(4) as pool:
        wins = list(pool.map(race, "abcd"))
    entries = journal.read("m")
    assert check_chain(entries) == len(entries) >= 40
    assert sorted(seq for won in wins for seq in won) == [entry.seq for entry in entries]


def test_a_journal_that_is_being_created_is_waited_for(tmp_path: Path) -> None:
    """Who opens a new journal while another command writes its first table waits for it, and then works."""
    path = tmp_path / "journal.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("CREATE TABLE another (n INTEGER)")  # not yet in the mode in which readers and writers share
        other.execute("BEGIN IMMEDIATE")
        ends = threading.Timer(0.5, other.execute, ("COMMIT",))
        ends.start()
        opened = SqlJournal(f"sqlite:///{path}", SystemClock())
        assert opened.append("m", 0, 1.0, "cli:ada", "Happened", {}).seq == 1
        ends.join()
    opened.close()


def test_processes_race_and_one_wins_each_number(journal_url: str, journal: SqlJournal) -> None:
    """Three processes that also race to create the database: each number is won once, by who says so."""
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER, journal_url, name, "40"], stdout=subprocess.PIPE, text=True)
        for name in "abc"
    ]
    said = {name: racer.communicate(timeout=180)[0].split() for name, racer in zip("abc", racers, strict=True)}
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    entries = journal.read("m")
    assert check_chain(entries) == len(entries) >= 40
    assert {int(seq): name for name, won in said.items() for seq in won} == {e.seq: e.actor for e in entries}
    assert sum(map(len, said.values())) == len(entries)


def test_a_killed_writer_loses_nothing_it_acknowledged(journal_url: str, journal: SqlJournal) -> None:
    """After a SIGKILL every acknowledged entry is there, and at most one more."""
    writer = subprocess.Popen(
        [sys.executable, "-c", RACER, journal_url, "a", "100000"], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    acknowledged = [int(writer.stdout.readline()) for _ in range(25)]
    writer.kill()
    acknowledged += [int(seq) for seq in writer.communicate()[0].split()]
    assert writer.returncode == -9
    assert check_chain(journal.read("m")) - len(acknowledged) in {0, 1}
    journal.append("m", len(journal.read("m")), 1.0, "b", "Continued", {})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE entries SET data = '{\"n\":7}' WHERE seq = 3", r"entry 3 \(Happened\) does not hash"),
        ("UPDATE entries SET actor = 'cli:eve' WHERE seq = 1", "entry 1 .* does not hash"),
        ("UPDATE entries SET at = at + 0.001 WHERE seq = 5", "entry 5 .* does not hash"),
        ("UPDATE entries SET hash = previous WHERE seq = 2", "entry 2 .* does not hash"),
        ("UPDATE entries SET data = '{\"n\": 2}' WHERE seq = 3", "entry 3 is not as it was ever written"),
        ("UPDATE entries SET data = 'null' WHERE seq = 3", "entry 3 is not as it was ever written"),
        ("UPDATE entries SET data = '{\"n\":1e999}' WHERE seq = 3", "entry 3 is not as it was ever written"),
        ("UPDATE entries SET data = 'edited' WHERE seq = 4", "entry 4 is not as it was ever written"),
        ("DELETE FROM entries WHERE seq = 2", "entry 2 is missing"),
        ("DELETE FROM entries WHERE seq = 1", "entry 1 is missing"),
    ],
)
def test_an_edited_or_deleted_row_is_named(journal: SqlJournal, change: str, named: str) -> None:
    """A row that was edited or deleted in the database is found, and the first wrong entry is named."""
    _fill(journal, 5)
    _execute(journal, change)
    with pytest.raises(JournalTampered, match=named):
        check_chain(journal.read("m"))


def test_a_swapped_or_inserted_row_is_named(journal: SqlJournal) -> None:
    """Two rows that changed places, or one slipped in between, are found at the first wrong place."""
    _fill(journal, 5)
    swap = (2, 99), (4, 2), (99, 4)
    _renumber(journal, *swap)
    with pytest.raises(JournalTampered, match="entry 2 does not follow"):
        check_chain(journal.read("m"))
    _renumber(journal, *swap)
    assert check_chain(journal.read("m")) == 5

    forged = seal_entry("m", 3, 1.0, 1.0, "cli:eve", "Approved", {}, journal.read("m")[1].hash)
    _renumber(journal, (5, 6), (4, 5), (3, 4))
    with journal._engine.begin() as connection:
        connection.execute(sa.insert(ENTRIES_TABLE).values(**{**asdict(forged), "data": "{}"}))
    with pytest.raises(JournalTampered, match="entry 4 does not follow the hash of entry 3"):
        check_chain(journal.read("m"))


def test_a_read_only_journal_is_read_but_not_written(journal_url: str, journal: SqlJournal) -> None:
    """An auditor's read-only view reads everything; an append to it is JournalUnavailable."""
    _fill(journal, 2)
    if journal_url.startswith("sqlite"):
        read_only = journal_url.replace("sqlite:///", "sqlite:///file:") + "?mode=ro&uri=true"
    else:
        read_only = journal_url
        _execute(journal, f"ALTER DATABASE {sa.make_url(journal_url).database} SET default_transaction_read_only = on")
    auditor = SqlJournal(read_only, SystemClock())
    assert check_chain(auditor.read("m")) == 2
    with pytest.raises(JournalUnavailable, match=r"read-?only"):
        auditor.append("m", 2, 1.0, "a", "k", {})
    auditor.close()
