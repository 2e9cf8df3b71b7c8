"""A rollback with MLflow and Prefect stopped brings traffic back at once; tables of real predictions follow."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from deltalake import CommitProperties, write_deltalake

from surefoot.adapters.clock import SystemClock
from surefoot.adapters.datalayer.table_adapters import TableAdapters
from surefoot.core.domain import RolloutKind, Stage
from surefoot.core.journal.events import RolloutEnded, RolloutOpened, StageEntered
from surefoot.core.journal.ledger import Ledger
from surefoot.core.policy.parse import parse_policy
from surefoot.rollout import Ports, drive_rollout, open_rollback, restore_due_tables
from tests.fakes import POLICY, FakeRegistry, Faults
from tests.integration.emergency import MODEL, Emergency
from tests.integration.gateway_harness import BETTER, GOOD
from tests.scripted import Script

TABLES = [
    {"name": "lake", "kind": "delta", "path": "data/lake"},
    {
        "name": "rows",
        "kind": "sql",
        "url_variable": "PREDICTIONS_URL",
        "table": "predictions",
        "valid_from": "at",
        "version_column": "version",
        "key": "request",
    },
    {"name": "files", "kind": "parquet", "path": "data/files"},
]
PROMOTION = {**POLICY, "model": MODEL, "data_layer": TABLES}
START = datetime(2013, 7, 1, tzinfo=UTC)


class Warehouse:
    """Three tables into which the gateway's answers are written."""

    def __init__(self, emergency: Emergency, url: str) -> None:
        self.emergency = emergency
        self.folder = emergency.home / "data"
        self.adapters = TableAdapters(emergency.home, emergency.home / "tables", {"PREDICTIONS_URL": url})
        self.registry = FakeRegistry(Faults())
        self.registry.versions = {GOOD: emergency.champion, BETTER: emergency.candidate}
        self.registry.aliases = {"champion": GOOD, "candidate": BETTER}
        self.ports = Ports(
            emergency.journal,
            self.registry,
            emergency.gateway.traffic,
            Script(),
            SystemClock(),
            "test",
            data_layer=self.adapters,
        )
        self.engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
        self.table = sa.Table(
            "predictions",
            sa.MetaData(),
            sa.Column("request", sa.Text, primary_key=True),
            sa.Column("version", sa.Text),
            sa.Column("at", sa.DateTime(timezone=True)),
            sa.Column("answer", sa.Float),
        )
        with self.engine.begin() as connection:
            self.table.drop(connection, checkfirst=True)
            self.table.create(connection)
        self.asked = 0

    def ask(self, count: int) -> None:
        """Ask the gateway, and write what it answers into every table, under the version that answered."""
        found = []
        for _ in range(count):
            self.asked += 1
            answer = self.emergency.gateway.ask(unit=f"u{self.asked}", x=self.asked / 50, y=1.0)
            version, said = answer.headers["x-model-version"], float(answer.json()["predictions"][0][1])
            at = START + timedelta(seconds=self.asked)
            found.append({"request": f"r{self.asked}", "version": version, "at": at, "answer": said})
        number = found[0]["version"]
        assert {one["version"] for one in found} == {number}
        rows = pa.Table.from_pylist(found).drop_columns(["version"])
        marked = CommitProperties(custom_metadata={"model_version": str(number)})
        write_deltalake(self.folder / "lake", rows, mode="append", commit_properties=marked)
        with self.engine.begin() as connection:
            connection.execute(sa.insert(self.table), found)
        path = self.folder / "files" / f"model_version={number}" / f"{self.asked}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, path)

    def promote(self) -> None:
        """Promote the better version through its last stage."""
        journal = self.emergency
        journal.append(
            RolloutOpened(
                "promotion",
                RolloutKind.PROMOTION,
                journal.candidate,
                journal.champion,
                PROMOTION,
                "",
                "",
                "salt",
                1,
                "x",
            )
        )
        journal.append(StageEntered("promotion", Stage.PROMOTING, 0, "test"))
        drive_rollout(self.ports, MODEL, until=lambda one: bool(one.rollout and one.rollout.stage is Stage.BAKING))
        journal.append(RolloutEnded("promotion", Stage.PROMOTED, "baked"))
        assert journal.live().champion.number == BETTER

    def digests(self) -> dict[str, str]:
        """What each table holds."""
        sources = parse_policy(PROMOTION).data_layer
        return {source.name: self.adapters.digest(MODEL, source).digest for source in sources}

    def ledger(self) -> Ledger:
        """The model's state."""
        return self.ports.ledger(MODEL)

    def kinds(self, kind: str) -> list[str]:
        """Tables of which an event was journalled."""
        return [str(entry.data["name"]) for entry in self.emergency.journal.read(MODEL) if entry.kind == kind]


@pytest.fixture
def warehouse(
    emergency: Emergency, postgres_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Warehouse]:
    """Predictions of version 1 in a Delta table, a PostgreSQL table and a folder of Parquet files."""
    monkeypatch.setenv("PREDICTIONS_URL", postgres_server)
    monkeypatch.setattr("surefoot.cli.emergency._REGISTRY_TIMEOUT_S", 1.0)
    made = Warehouse(emergency, postgres_server)
    try:
        made.ask(40)
        yield made
    finally:
        made.engine.dispose()


def test_a_model_goes_back_with_its_predictions(warehouse: Warehouse, capfd: pytest.CaptureFixture[str]) -> None:
    """With MLflow and Prefect down traffic is back; when they return, alias and tables follow, each exactly once."""
    before = warehouse.digests()
    warehouse.promote()
    kept = {one.event.name: one.event for one in warehouse.ledger().data.checkpoints}
    assert {name: one.checkpoint.content.digest for name, one in kept.items()} == before
    assert all(one.proved for one in kept.values())
    warehouse.ask(25)
    after = warehouse.digests()
    assert not set(after.values()) & set(before.values())
    assert warehouse.emergency.command("rollback", MODEL, "-m", "predictions are wrong") == 4
    assert warehouse.emergency.live().champion.number == GOOD
    assert warehouse.digests() == after
    assert not warehouse.kinds("DataRestoreRequested")
    drive_rollout(warehouse.ports, MODEL, until=lambda one: not one.open)
    for _ in range(3):
        restore_due_tables(warehouse.ports, MODEL)
    assert warehouse.registry.aliases["champion"] == GOOD
    assert warehouse.digests() == before
    for kind in ("DataRestoreRequested", "DataRestored"):
        assert warehouse.kinds(kind) == ["lake", "rows", "files"]
    done = [entry.data for entry in warehouse.emergency.journal.read(MODEL) if entry.kind == "DataRestored"]
    assert {one["name"]: (one["before"], one["after"]) for one in done} == {
        name: (after[name], before[name]) for name in before
    }
    capfd.readouterr()
    assert warehouse.emergency.command("data", MODEL, "--json") == 0
    told = json.loads(capfd.readouterr().out)
    assert [one["name"] for one in told["checkpoints"]] == ["lake", "rows", "files"]
    assert all(one["state"].startswith("restored") and one["proved_at"] for one in told["checkpoints"])
    assert {one["name"]: one["content"]["digest"] for one in told["checkpoints"]} == before
    assert not told["trouble"]


def test_a_newer_write_is_refused_in_every_table(warehouse: Warehouse, capfd: pytest.CaptureFixture[str]) -> None:
    """What the good version has written since is kept in all three; the commands say so until a person decides."""
    warehouse.promote()
    warehouse.ask(25)
    warehouse.emergency.command("rollback", MODEL)
    warehouse.ask(5)
    found = warehouse.digests()
    drive_rollout(warehouse.ports, MODEL, until=lambda one: not one.open)
    restore_due_tables(warehouse.ports, MODEL)
    assert warehouse.digests() == found
    assert warehouse.kinds("DataRestoreRefused") == ["lake", "rows", "files"]
    capfd.readouterr()
    assert warehouse.emergency.command("data", MODEL) == 1
    said = capfd.readouterr().out
    assert all(f"table {name} was not restored" in said for name in ("lake", "rows", "files"))
    assert "version 1" in said
    assert warehouse.emergency.command("data", MODEL, "--restore", "rows") == 3
    for name in ("lake", "rows", "files"):
        warehouse.emergency.command("data", MODEL, "--leave", name, "-m", "corrected by hand")
    assert warehouse.emergency.command("data", MODEL) == 0
    assert warehouse.digests() == found
    assert warehouse.emergency.command("data", MODEL, "--leave", "rows") == 2
    assert warehouse.emergency.command("data", "nothing") == 2


def test_a_shell_without_the_url_leaves_the_table_to_reconcile(
    warehouse: Warehouse, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the URL is not set the command restores the other tables, says what waits, and exits with 4."""
    before = warehouse.digests()
    warehouse.promote()
    warehouse.ask(25)
    open_rollback(warehouse.ports, MODEL, "operator")
    drive_rollout(warehouse.ports, MODEL, until=lambda one: not one.open)
    with monkeypatch.context() as shell:
        shell.delenv("PREDICTIONS_URL")
        capfd.readouterr()
        assert warehouse.emergency.command("rollback", MODEL) == 4
        assert "a table waits to be restored" in capfd.readouterr().err
    assert warehouse.kinds("DataRestored") == ["lake", "files"]
    assert warehouse.emergency.command("rollback", MODEL) == 0
    assert warehouse.digests() == before
