"""A folder of Parquet files is checkpointed, proved restorable, and restored; nothing that is newer is overwritten."""

import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.adapters.datalayer.checkpoint_files import CheckpointFiles
from surefoot.adapters.datalayer.parquet_digest import arrow_digest, duckdb_digest
from surefoot.adapters.datalayer.parquet_table import ParquetTable
from surefoot.adapters.datalayer.row_digest import RowDigest, digest_record_batches
from surefoot.adapters.datalayer.table_adapters import TableAdapters
from surefoot.core.errors import DataTampered, NewerWrite, NotFound, Rejected
from surefoot.core.policy.recovery.data_layer import ParquetSource, parse_data_source
from surefoot.core.tables.table_checkpoint import TableCheckpoint


def write(path: Path, version: int, ids: Sequence[int], *, marked: bool = True, **more: list[object]) -> None:
    """Write predictions of one version into a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"request": pa.array(ids, pa.int64()), "late": pa.array([one / 7 for one in ids]), **more}
    columns["at"] = pa.array([one * 10**6 for one in ids], pa.timestamp("us", "UTC"))
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata({"model_version": str(version)} if marked else {}), path)


@pytest.fixture
def table(tmp_path: Path) -> ParquetTable:
    """Predictions of version 1, in two files."""
    write(tmp_path / "table" / "model_version=1" / "a.parquet", 1, range(100), marked=False)
    write(tmp_path / "table" / "b.parquet", 1, range(100, 150))
    return ParquetTable(tmp_path / "table", CheckpointFiles(tmp_path / "kept"))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_a_version_has_written_is_taken_back(table: ParquetTable) -> None:
    """Files that the version has added go aside, a file that it has changed is put back; the digest is the old one."""
    before, checkpoint = contents(table.folder), table.checkpoint()
    table.verify_restorable(checkpoint)
    write(table.folder / "model_version=2" / "c.parquet", 2, range(50), marked=False)
    write(table.folder / "d.parquet", 2, range(7))
    write(table.folder / "b.parquet", 2, range(3))
    changed = table.digest()
    done = table.restore(checkpoint, ("2",), "m/9")
    assert contents(table.folder) == before
    assert (done.before, done.after, done.already) == (changed.digest, checkpoint.content.digest, False)
    assert table.digest() == checkpoint.content
    assert len(contents(table.kept.folder / "taken_back" / "m-9")) == 3
    assert table.restore(checkpoint, ("2",), "m/9").already


def test_a_restore_that_was_killed_goes_on(table: ParquetTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after any file, a restore ends where it would have ended when it is repeated."""
    before, checkpoint = contents(table.folder), table.checkpoint()
    for number in range(1, 4):
        write(table.folder / "c.parquet", 2, range(50))
        write(table.folder / "d.parquet", 2, range(7))
        write(table.folder / "b.parquet", 2, range(3))
        left, whole = [number], ParquetTable._put_back

        def killed(
            self: ParquetTable,
            *said: object,
            left: list[int] = left,
            whole: object = whole,
        ) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            whole(self, *said)  # type: ignore[operator]

        with monkeypatch.context() as broken:
            broken.setattr(ParquetTable, "_put_back", killed)
            if number < 3:
                with pytest.raises(KeyboardInterrupt):
                    table.restore(checkpoint, ("2",), "m/9")
            else:
                table.restore(checkpoint, ("2",), "m/9")
        table.restore(checkpoint, ("2",), "m/9")
        assert contents(table.folder) == before


@pytest.mark.parametrize("marked", [True, False], ids=["another version", "a writer without a name"])
def test_a_newer_write_is_never_overwritten(table: ParquetTable, *, marked: bool) -> None:
    """A file of anybody but the version that is taken back stops the restore, and nothing is touched."""
    checkpoint = table.checkpoint()
    write(table.folder / "c.parquet", 2, range(50))
    write(table.folder / "d.parquet", 3, range(7), marked=marked)
    found = contents(table.folder)
    with pytest.raises(NewerWrite, match="version 3" if marked else "not named in it"):
        table.restore(checkpoint, ("2",), "m/9")
    assert contents(table.folder) == found


def test_a_write_during_the_restore_is_found(table: ParquetTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that comes while others are put back stays, and the restore says so."""
    checkpoint, whole = table.checkpoint(), ParquetTable._put_back
    write(table.folder / "c.parquet", 2, range(50))

    def slow(self: ParquetTable, *said: object) -> None:
        write(table.folder / "late.parquet", 1, range(3))
        whole(self, *said)  # type: ignore[arg-type]

    monkeypatch.setattr(ParquetTable, "_put_back", slow)
    with pytest.raises(NewerWrite, match=r"late\.parquet was written while"):
        table.restore(checkpoint, ("2",), "m/9")
    assert (table.folder / "late.parquet").is_file()


def test_a_removed_file_is_not_brought_back(table: ParquetTable) -> None:
    """A file that is gone may have been removed for a reason: the restore is refused."""
    checkpoint = table.checkpoint()
    (table.folder / "b.parquet").unlink()
    with pytest.raises(NewerWrite, match="was removed since"):
        table.restore(checkpoint, ("2",), "m/9")


def damage(kept: CheckpointFiles, checkpoint: TableCheckpoint, draw: random.Random) -> None:
    """Damage one thing of what was kept: flip a bit, cut a file, swap two, put an older one, remove one."""
    objects = sorted((kept.folder / "objects").iterdir())
    manifest = kept.folder / "manifests" / f"{checkpoint.manifest}.json"
    target = draw.choice([*objects, manifest])
    body = target.read_bytes()
    target.chmod(0o644)
    match draw.choice(["flip", "cut", "swap", "older", "remove", "grow"]):
        case "flip":
            place = draw.randrange(len(body))
            target.write_bytes(body[:place] + bytes([body[place] ^ (1 << draw.randrange(8))]) + body[place + 1 :])
        case "cut":
            target.write_bytes(body[: draw.randrange(len(body))])
        case "swap":
            other = draw.choice([one for one in (*objects, manifest) if one != target])
            target.write_bytes(other.read_bytes())
        case "older":
            target.write_bytes((kept.folder / "older").read_bytes())
        case "remove":
            target.unlink()
        case _:
            target.write_bytes(body + b"\0")


def test_damaged_checkpoints_are_stopped_before_the_restore(table: ParquetTable) -> None:
    """Of 300 damaged checkpoints (bits, cuts, swapped, older and missing files) none is restored."""
    write(table.kept.folder / "older", 1, range(90))
    checkpoint = table.checkpoint()
    whole = contents(table.kept.folder)
    write(table.folder / "c.parquet", 2, range(50))
    found = contents(table.folder)
    for seed in range(300):
        damage(table.kept, checkpoint, random.Random(seed))  # noqa: S311 - chooses damage
        with pytest.raises(DataTampered):
            table.restore(checkpoint, ("2",), "m/9")
        assert contents(table.folder) == found, seed
        for path, body in whole.items():
            (table.kept.folder / path).unlink(missing_ok=True)
            (table.kept.folder / path).write_bytes(body)
    assert table.restore(checkpoint, ("2",), "m/9").after == checkpoint.content.digest


def test_an_added_column_is_part_of_the_checkpoint(table: ParquetTable) -> None:
    """Files with different columns are one table to both readers, and a column that came later goes back as well."""
    write(table.folder / "c.parquet", 1, range(5), segment=["x"] * 5)
    checkpoint = table.checkpoint()
    table.verify_restorable(checkpoint)
    write(table.folder / "d.parquet", 2, range(5), other=[1] * 5)
    assert table.digest().schema != checkpoint.content.schema
    assert table.restore(checkpoint, ("2",), "m/9").after == checkpoint.content.digest


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    """A folder that is not there, and a file that is no Parquet, are refused with their names."""
    adapters = TableAdapters(tmp_path, tmp_path / "kept")
    source = parse_data_source({"name": "t", "kind": "parquet", "path": "none"})
    assert isinstance(source, ParquetSource)
    with pytest.raises(NotFound, match="there is no folder"):
        adapters.checkpoint("m", source)
    (tmp_path / "none").mkdir()
    assert adapters.checkpoint("m", source).content.rows == 0
    (tmp_path / "none" / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(Rejected, match="pyarrow cannot read"):
        adapters.digest("m", source)


KINDS: list[pa.DataType] = [
    pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string(), pa.binary(), pa.bool_(), pa.date32(),
    pa.timestamp("us"), pa.timestamp("ms", "UTC"), pa.decimal128(12, 3), pa.list_(pa.int64()),
    pa.struct([("a", pa.string()), ("b", pa.float64())]),
]  # fmt: skip
VALUES = {
    "int": st.integers(-(2**31), 2**31 - 1),
    "flo": st.floats(width=32),
    "dou": st.floats(),
    "str": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5),
    "bin": st.binary(max_size=5),
    "boo": st.booleans(),
    "dat": st.dates(),
    "tim": st.integers(-(10**12), 10**12),
    "dec": st.decimals(-1000, 1000, places=3),
    "lis": st.lists(st.integers(-9, 9), max_size=3),
}
VALUES["stru"] = st.fixed_dictionaries({"a": st.none() | VALUES["str"], "b": st.floats()})


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_both_readers_agree_on_any_table(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Law: pyarrow and DuckDB find the same digest of the same files, whatever types and values, in any order."""
    kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
    rows = data.draw(st.integers(0, 6))
    columns = {}
    for place, kind in enumerate(kinds):
        values = VALUES["stru"] if pa.types.is_struct(kind) else VALUES[str(kind)[:3].replace("dat", "dat")]
        found = data.draw(st.lists(st.none() | values, min_size=rows, max_size=rows))
        columns[f"c{place}"] = pa.array(found, kind)
    whole = pa.table(columns)
    folder = tmp_path_factory.mktemp("law")
    cut = data.draw(st.integers(0, rows))
    files = [folder / "a", folder / "b"]
    pq.write_table(whole.slice(cut), files[0])
    pq.write_table(whole.slice(0, cut), files[1])
    wanted = digest_record_batches(whole.to_reader())
    assert arrow_digest(files) == wanted
    assert duckdb_digest(files) == wanted


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.randoms())
def test_a_digest_counts_rows_and_not_their_order(rows: list[int], order: random.Random) -> None:
    """Law: the order of rows changes nothing, one row more or less changes the digest."""

    def digest(values: Sequence[int]) -> str:
        found = RowDigest({"a": "int64"})
        found.add([one] for one in values)
        return found.finish().digest

    shuffled = order.sample(rows, len(rows))
    assert digest(shuffled) == digest(rows)
    assert digest(rows[1:]) != digest(rows)
    assert digest([*rows, rows[0]]) != digest(rows)
