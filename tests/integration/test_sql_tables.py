"""A SQL table of predictions is restored by its column of validity; nothing that is newer is overwritten."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surefoot.adapters.datalayer.sql_table import SqlTable, build_table_engine
from surefoot.adapters.datalayer.table_adapters import TableAdapters
from surefoot.core.errors import DataTampered, DataUnavailable, NewerWrite, NotFound, Rejected
from surefoot.core.policy.recovery.data_layer import SqlSource, parse_data_source

START = datetime(2013, 7, 1, tzinfo=UTC)
SOURCE = {
    "name": "predictions",
    "kind": "sql",
    "url_variable": "PREDICTIONS_URL",
    "table": "predictions",
    "valid_from": "at",
    "version_column": "version",
    "key": "request",
}


class Database:
    """A database with a table of predictions of version 1."""

    def __init__(self, url: str, folder: Path) -> None:
        self.adapters = TableAdapters(folder, folder / "tables", {"PREDICTIONS_URL": url})
        found = parse_data_source(SOURCE)
        assert isinstance(found, SqlSource)
        self.source = found
        self.engine = build_table_engine(url, "predictions")
        self.table = sa.Table(
            "predictions",
            sa.MetaData(),
            sa.Column("request", sa.String(20), primary_key=True),
            sa.Column("version", sa.Integer),
            sa.Column("at", sa.DateTime(timezone=True)),
            sa.Column("late", sa.Float),
            sa.Column("detail", sa.JSON),
        )
        self.count = 0
        with self.engine.begin() as connection:
            self.table.drop(connection, checkfirst=True)
            self.table.create(connection)
        self.write(1, 200)

    def write(self, version: int | None, rows: int) -> None:
        """Add predictions of a version, each a second after the one before."""
        values = []
        for _ in range(rows):
            self.count += 1
            at = START + timedelta(seconds=self.count)
            late = self.count / 7
            values.append(
                {"request": f"r{self.count}", "version": version, "at": at, "late": late, "detail": {"n": late}}
            )
        with self.engine.connect().execution_options(surefoot_writes=True) as connection, connection.begin():
            connection.execute(sa.insert(self.table), values)

    def execute(self, statement: sa.Executable) -> None:
        """Change something behind everybody's back."""
        with self.engine.connect().execution_options(surefoot_writes=True) as connection, connection.begin():
            connection.execute(statement)

    def versions(self) -> list[int]:
        """Which versions have rows."""
        with self.engine.begin() as connection:
            return sorted(connection.execute(sa.select(self.table.c.version).distinct()).scalars())


@pytest.fixture
def database(journal_url: str, tmp_path: Path) -> Iterator[Database]:
    """The table, in SQLite and in PostgreSQL."""
    if journal_url.startswith("sqlite"):
        Path(journal_url.removeprefix("sqlite:///")).parent.mkdir(parents=True)
    made = Database(journal_url, tmp_path)
    yield made
    made.engine.dispose()


def test_what_a_version_has_written_is_taken_back(database: Database) -> None:
    """The rows of the version that is taken back go, and the digest is the checkpoint's."""
    checkpoint = database.adapters.checkpoint("m", database.source)
    database.adapters.verify_restorable("m", database.source, checkpoint)
    database.write(2, 50)
    before = database.adapters.digest("m", database.source)
    assert before.rows == 250
    done = database.adapters.restore("m", database.source, checkpoint, ("2",), "m/9")
    assert (done.before, done.after, done.already) == (before.digest, checkpoint.content.digest, False)
    assert database.adapters.digest("m", database.source) == checkpoint.content
    assert database.adapters.restore("m", database.source, checkpoint, ("2",), "m/9").already
    database.write(1, 3)
    assert database.adapters.restore("m", database.source, checkpoint, ("2",), "m/9").already
    assert database.versions() == [1]
    database.adapters.verify_restorable("m", database.source, checkpoint)


@pytest.mark.parametrize("version", [1, 3, None])
def test_a_newer_write_is_never_overwritten(database: Database, version: int | None) -> None:
    """Rows of anybody but the version that is taken back stop the restore; the refusal names them by key."""
    checkpoint = database.adapters.checkpoint("m", database.source)
    database.write(2, 5)
    database.write(version, 1)
    before = database.adapters.digest("m", database.source)
    who = f"version {version}" if version else "an unnamed version"
    with pytest.raises(NewerWrite, match=rf"1 rows of predictions .* by {who} \(request=r206\)"):
        database.adapters.restore("m", database.source, checkpoint, ("2",), "m/9")
    assert database.adapters.digest("m", database.source) == before


@pytest.mark.parametrize("value", ["'x'", "x'ff'", "'2013-99-99'", "9e999"])
@pytest.mark.parametrize("column", ["late", "at", "detail"])
def test_a_value_that_is_none_of_its_column_stops_the_restore(tmp_path: Path, column: str, value: str) -> None:
    """What a damaged SQLite file holds in the place of a number, a time or a document is found; nothing is done."""
    database = Database(f"sqlite:///{tmp_path}/predictions.db", tmp_path)
    checkpoint = database.adapters.checkpoint("m", database.source)
    database.write(2, 5)
    database.execute(sa.text(f"UPDATE predictions SET {column} = {value} WHERE request = 'r9'"))  # noqa: S608 - of this test
    with pytest.raises(DataTampered):
        database.adapters.restore("m", database.source, checkpoint, ("2",), "m/9")
    assert database.versions() == [1, 2]
    database.engine.dispose()


def test_rows_of_the_checkpoint_that_were_changed_stop_the_restore(database: Database) -> None:
    """A changed, a removed and a late row of the time before the checkpoint are each found before anything is done."""
    checkpoint = database.adapters.checkpoint("m", database.source)
    database.write(2, 5)
    late = {"request": "late", "version": 2, "at": START, "late": 0.5, "detail": None}
    changes = [
        (sa.update(database.table).where(database.table.c.request == "r9").values(late=1.0), "other values"),
        (sa.delete(database.table).where(database.table.c.request == "r8"), "199 rows instead of 200"),
        (sa.insert(database.table).values(late), "other values"),
    ]
    for change, said in changes:
        database.execute(change)
        with pytest.raises(DataTampered, match=said):
            database.adapters.restore("m", database.source, checkpoint, ("2",), "m/9")
        with pytest.raises(DataTampered, match=said):
            database.adapters.verify_restorable("m", database.source, checkpoint)
    assert database.versions() == [1, 2]


def test_an_added_column_is_said(database: Database) -> None:
    """A column that came since the checkpoint stops the restore with a clear word."""
    checkpoint = database.adapters.checkpoint("m", database.source)
    database.write(2, 5)
    database.execute(sa.text("ALTER TABLE predictions ADD COLUMN segment VARCHAR(5)"))
    with pytest.raises(DataTampered, match="other columns"):
        database.adapters.restore("m", database.source, checkpoint, ("2",), "m/9")


def test_a_write_during_the_restore_waits_for_its_end(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """While rows are removed another writer is kept out; what it writes afterwards stays."""
    checkpoint = database.adapters.checkpoint("m", database.source)
    database.write(2, 50)
    began, whole, writers = threading.Event(), SqlTable._lock, []

    def write() -> None:
        began.set()
        database.write(1, 1)

    def slow(self: SqlTable, *said: object) -> None:
        whole(self, *said)  # type: ignore[arg-type]
        writers.append(threading.Thread(target=write))
        writers[-1].start()
        began.wait()

    monkeypatch.setattr(SqlTable, "_lock", slow)
    done = database.adapters.restore("m", database.source, checkpoint, ("2",), "m/9")
    writers[0].join()
    assert done.after == checkpoint.content.digest
    assert database.versions() == [1]
    assert database.adapters.digest("m", database.source).rows == 201


def test_a_table_that_another_writer_locks_is_tried_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that does not go away is no refusal: nothing was changed, and the restore is repeated."""
    checkpoint = database.adapters.checkpoint("m", database.source)
    database.write(2, 5)
    monkeypatch.setattr("surefoot.adapters.datalayer.sql_table._LOCK_TIMEOUT_S", 1)
    with database.engine.connect().execution_options(surefoot_writes=True) as other, other.begin():
        other.execute(sa.insert(database.table).values(request="x", version=2, at=START + timedelta(days=1)))
        with pytest.raises(DataUnavailable, match="cannot be used"):
            database.adapters.restore("m", database.source, checkpoint, ("2",), "m/9")
        other.rollback()
    assert database.adapters.restore("m", database.source, checkpoint, ("2",), "m/9").after == checkpoint.content.digest


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.integers(1, 4)), max_size=5))
def test_a_restore_removes_only_what_it_may(database: Database, steps: list[tuple[int, int]]) -> None:
    """Law: after any writes a restore gives the checkpoint's digest, or changes nothing at all."""
    database.execute(sa.delete(database.table).where(database.table.c.version != 1))
    checkpoint = database.adapters.checkpoint("m", database.source)
    for version, rows in steps:
        database.write(version, rows)
    before, versions = database.adapters.digest("m", database.source), {version for version, _ in steps}
    try:
        done = database.adapters.restore("m", database.source, checkpoint, ("2",), "m/9")
    except NewerWrite:
        assert 2 in versions
        assert versions - {2}
        assert database.adapters.digest("m", database.source) == before
    else:
        assert done.after == checkpoint.content.digest
        assert done.already == (2 not in versions)
        if versions <= {2}:
            assert database.adapters.digest("m", database.source) == checkpoint.content


def test_what_is_not_there_is_named(database: Database) -> None:
    """A variable that is not set, a missing table and a missing column are each named; no URL is repeated."""
    adapters = TableAdapters(Path(), Path(), {})
    with pytest.raises(Rejected, match="PREDICTIONS_URL"):
        adapters.checkpoint("m", database.source)
    for url in ("mysql://u:secret@h/d", "nonsense secret", "postgresql+pg8000://u:secret@127.0.0.1:1/x"):
        adapters = TableAdapters(Path(), Path(), {"PREDICTIONS_URL": url})
        with pytest.raises((Rejected, DataUnavailable)) as told:
            adapters.checkpoint("m", database.source)
        assert "secret" not in str(told.value)
    for key, said in (("table", "there is no table gone"), ("valid_from", "no column 'gone'")):
        source = parse_data_source({**SOURCE, key: "gone"})
        with pytest.raises(NotFound, match=said):
            database.adapters.checkpoint("m", source)
