"""The journal when the connection to PostgreSQL breaks at the worst moment: during a commit."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import sqlalchemy as sa

from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal.sql_journal import JOURNAL_TABLES, SqlJournal
from surefoot.core.errors import Conflict, OutcomeUnknown
from surefoot.core.journal.chain import check_chain


class Wire:
    """A TCP server that passes everything on to PostgreSQL's socket and cuts one commit.

    Attributes:
        port: Where it listens.
        cut: When to cut the next commit: "before" it is passed on, "after" PostgreSQL has answered
            (the answer is lost), or "" for never.
        then: Called once, right after the cut and before the client can notice it.
        deaf: Whether new connections are closed at once.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.cut, self.deaf = "", False
        self.then: Callable[[], object] = lambda: None
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                if self.deaf:
                    client.close()
                    continue
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._target)
        lost = threading.Event()
        answering = threading.Thread(target=self._answer, args=(client, server, lost), daemon=True)
        answering.start()
        with suppress(OSError), client, server:
            while asked := client.recv(65536):
                if self.cut and b"COMMIT" in asked:
                    when, self.cut = self.cut, ""
                    if when == "after":
                        lost.set()
                        server.sendall(asked)
                        answering.join()
                    server.shutdown(socket.SHUT_RDWR)
                    self.then()
                    return
                server.sendall(asked)
            server.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _answer(client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with suppress(OSError):
            while answer := server.recv(65536):
                if lost.is_set():
                    return
                client.sendall(answer)


@pytest.fixture
def wire(postgres_server: str) -> Iterator[Wire]:
    """A line to a PostgreSQL whose journal is empty."""
    url = sa.make_url(postgres_server).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url)
    JOURNAL_TABLES.drop_all(engine)
    engine.dispose()
    line = Wire(f"{url.query['host']}/.s.PGSQL.5432")
    yield line
    line.close()


@pytest.fixture
def journal(wire: Wire) -> Iterator[SqlJournal]:
    """A journal at the other end of the line, with one entry."""
    opened = SqlJournal(f"postgresql://postgres@127.0.0.1:{wire.port}/postgres?sslmode=disable", SystemClock())
    opened.append("m", 0, 1.0, "a", "Opened", {})
    yield opened
    opened.close()


def test_a_commit_whose_answer_is_lost_is_found(wire: Wire, journal: SqlJournal) -> None:
    """When the entry did reach the database, the append looks, finds it, and succeeds once."""
    wire.cut = "after"
    entry = journal.append("m", 1, 2.0, "a", "Promoted", {"x": 0.1})
    assert wire.cut == ""
    assert journal.read("m")[1:] == (entry,)
    assert check_chain(journal.read("m")) == 2


def test_a_commit_that_never_arrived_is_of_unknown_outcome(wire: Wire, journal: SqlJournal) -> None:
    """When the entry is not seen, the outcome is unknown; reading again and repeating is safe."""
    wire.cut = "before"
    with pytest.raises(OutcomeUnknown, match="did not confirm a commit"):
        journal.append("m", 1, 2.0, "a", "Promoted", {})
    assert wire.cut == ""
    assert check_chain(journal.read("m")) == 1
    assert journal.append("m", 1, 2.0, "a", "Promoted", {}).seq == 2


def test_a_commit_is_of_unknown_outcome_when_nobody_can_look(wire: Wire, journal: SqlJournal) -> None:
    """When the database is gone after the commit was sent, the outcome is unknown even if it was applied."""
    wire.then = lambda: setattr(wire, "deaf", True)
    wire.cut = "after"
    with pytest.raises(OutcomeUnknown):
        journal.append("m", 1, 2.0, "a", "Promoted", {})
    wire.deaf = False
    assert check_chain(journal.read("m")) == 2


def test_a_lost_commit_that_another_overtook_is_a_conflict(
    wire: Wire, journal: SqlJournal, postgres_server: str
) -> None:
    """When somebody else has the number by the time we look, it is a Conflict and not a doubt."""
    other = SqlJournal(postgres_server, SystemClock())
    wire.then = lambda: other.append("m", 1, 2.0, "b", "Aborted", {})
    wire.cut = "before"
    with pytest.raises(Conflict, match="expected 1 entries, found 2"):
        journal.append("m", 1, 2.0, "a", "Promoted", {})
    assert [entry.kind for entry in other.read("m")] == ["Opened", "Aborted"]
    other.close()
