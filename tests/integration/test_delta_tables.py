"""A Delta Lake table is restored by its versions; a newer commit is never undone, and known traps are refused."""

import base64
import json
import random
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.adapters.datalayer import delta_table
from surefoot.adapters.datalayer.checkpoint_files import CheckpointFiles
from surefoot.adapters.datalayer.delta_digest import duckdb_delta_digest
from surefoot.adapters.datalayer.delta_log import DeltaLog, parse_retention_interval
from surefoot.adapters.datalayer.delta_table import DeltaLakeTable
from surefoot.core.errors import DataTampered, NewerWrite, NotFound, Rejected
from surefoot.core.tables.table_checkpoint import TableCheckpoint

Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


def marked(version: int | None) -> CommitProperties:
    """What a writer says of itself."""
    return CommitProperties(custom_metadata={"model_version": str(version)} if version else {})


def rows(ids: Sequence[int], **more: Any) -> pa.Table:
    """Predictions."""
    at = pa.array([one * 10**6 for one in ids], pa.timestamp("us", "UTC"))
    days = pa.array([one % 3 for one in ids], pa.int32())
    return pa.table(
        {"request": pa.array(ids, pa.int64()), "late": [one / 7 for one in ids], "at": at, "day": days, **more}
    )


def write(folder: Path, version: int | None, ids: Sequence[int], mode: str = "append", **more: Any) -> None:
    """Commit predictions of a version."""
    added = rows(ids, **more)
    merged: Any = {"schema_mode": "merge"} if more else {}
    write_deltalake(folder, added, mode=mode, commit_properties=marked(version), **merged)  # type: ignore[call-overload]


@pytest.fixture(params=["plain", "partitioned"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> DeltaLakeTable:
    """Predictions of version 1, in two commits."""
    folder = tmp_path / "table"
    by = ["day"] if request.param == "partitioned" else None
    write_deltalake(folder, rows(range(100)), partition_by=by, commit_properties=marked(1))
    write(folder, 1, range(100, 150))
    return DeltaLakeTable(folder, CheckpointFiles(tmp_path / "kept"))


def test_what_a_version_has_written_is_taken_back(table: DeltaLakeTable) -> None:
    """Appended, deleted, overwritten and widened by the version: the restored table has the checkpoint's digest."""
    checkpoint = table.checkpoint()
    assert checkpoint.content.rows == 150
    table.verify_restorable(checkpoint)
    write(table.folder, 2, range(7))
    DeltaTable(table.folder).delete("request < 50", commit_properties=marked(2))
    write(table.folder, 2, range(3), segment=["x"] * 3)
    changed = table.digest()
    done = table.restore(checkpoint, ("2",), "m/9")
    assert (done.before, done.after, done.already) == (changed.digest, checkpoint.content.digest, False)
    assert table.digest() == checkpoint.content
    head = DeltaTable(table.folder).version()
    assert table.restore(checkpoint, ("2",), "m/9").already
    write(table.folder, 1, range(3))
    assert table.restore(checkpoint, ("2",), "m/9").already
    assert DeltaTable(table.folder).version() == head + 1


@pytest.mark.parametrize("version", [1, 3, None])
def test_a_newer_write_is_never_overwritten(table: DeltaLakeTable, version: int | None) -> None:
    """A commit of anybody but the version that is taken back stops the restore, before and after that one's own."""
    checkpoint = table.checkpoint()
    write(table.folder, version, range(2))
    write(table.folder, 2, range(7))
    head = DeltaTable(table.folder).version()
    with pytest.raises(NewerWrite, match=f"model version {version}" if version else "an unnamed writer"):
        table.restore(checkpoint, ("2",), "m/9")
    assert DeltaTable(table.folder).version() == head


def test_a_write_during_the_restore_is_found(table: DeltaLakeTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that comes while the checkpoint is proved makes the restore fail, and stays."""
    checkpoint, whole = table.checkpoint(), delta_table._restore
    write(table.folder, 2, range(7))

    def slow(opened: DeltaTable, version: int, intent: str) -> None:
        if intent == "m/9":
            write(table.folder, 1, [1000])
        whole(opened, version, intent)

    monkeypatch.setattr(delta_table, "_restore", slow)
    with pytest.raises(NewerWrite, match="was written while it was restored"):
        table.restore(checkpoint, ("2",), "m/9")
    assert table.digest().rows == 158


def test_maintenance_is_no_write(table: DeltaLakeTable) -> None:
    """OPTIMIZE, which only writes rows anew, does not stop a restore."""
    checkpoint = table.checkpoint()
    write(table.folder, 2, range(7))
    DeltaTable(table.folder).optimize.compact()
    assert table.restore(checkpoint, ("2",), "m/9").after == checkpoint.content.digest


def test_a_vacuumed_table_is_refused(table: DeltaLakeTable) -> None:
    """Files that VACUUM has removed are missed by the proof and by the restore, which changes nothing."""
    checkpoint = table.checkpoint()
    write(table.folder, 2, range(7), mode="overwrite")
    opened = DeltaTable(table.folder)
    opened.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    head = DeltaTable(table.folder).version()
    for act in (table.verify_restorable, lambda one: table.restore(one, ("2",), "m/9")):
        with pytest.raises(DataTampered, match="perhaps by VACUUM"):
            act(checkpoint)
    assert DeltaTable(table.folder).version() == head


def add_deletion_vector(folder: Path, gone: Sequence[int], version: int) -> None:
    """Commit a deletion vector for the first data file, as Spark does where they are enabled."""
    log = DeltaLog(folder)
    head, found = log.head(), log.version(log.head())
    added = next(
        action["add"] for one in range(head + 1) for action in log._actions(one) if action.get("add")
        if action["add"]["path"] in {file.path for file in found.files}
    )  # fmt: skip
    meta = next(action["metaData"] for one in range(head + 1) for action in log._actions(one) if "metaData" in action)
    meta["configuration"] = {"delta.enableDeletionVectors": "true"}
    bitmap = struct.pack("<QIIIHHI", 1, 0, 12346, 1, 0, len(gone) - 1, 16) + b"".join(
        struct.pack("<H", one) for one in gone
    )
    body = struct.pack("<I", 1681511377) + bitmap
    padded = body + b"\0" * (-len(body) % 4)
    vector = {
        "storageType": "i",
        "pathOrInlineDv": base64.b85encode(padded).decode().translate(_to_z85()),
        "sizeInBytes": len(body),
        "cardinality": len(gone),
    }
    stats = {**json.loads(added["stats"]), "tightBounds": False}
    removed = {key: added[key] for key in ("path", "partitionValues", "size")}
    features = {"readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}
    actions = [
        {"commitInfo": {"timestamp": 1, "operation": "DELETE", "model_version": str(version)}},
        {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **features}},
        {"metaData": meta},
        {"remove": {**removed, "deletionTimestamp": 1, "dataChange": True, "extendedFileMetadata": True}},
        {"add": {**added, "stats": json.dumps(stats), "deletionVector": vector, "dataChange": True}},
    ]
    lines = "\n".join(json.dumps(action) for action in actions)
    (log.folder / f"{head + 1:020}.json").write_text(lines + "\n")


def _to_z85() -> dict[int, str]:
    """Python's alphabet of base 85 to that of Z85."""
    ours = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
    return {ord(mine): theirs for mine, theirs in zip(ours, Z85, strict=True)}


def test_deletion_vectors_of_the_version_are_undone_or_refused(table: DeltaLakeTable) -> None:
    """Rows that the version has hidden with a deletion vector come back; a checkpoint that has one is refused."""
    checkpoint = table.checkpoint()
    add_deletion_vector(table.folder, [0, 2], 2)
    assert table.digest().rows == 148
    hidden = table.checkpoint()
    with pytest.raises(Rejected, match="deletion vectors"):
        table.verify_restorable(hidden)
    assert table.restore(checkpoint, ("2",), "m/9").after == checkpoint.content.digest
    assert table.digest() == checkpoint.content


def test_a_restore_that_does_nothing_is_found(table: DeltaLakeTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that reports success and restores nothing is caught in the scratch copy, not in the table."""
    checkpoint = table.checkpoint()
    add_deletion_vector(table.folder, [0, 2], 2)
    head = DeltaTable(table.folder).version()
    monkeypatch.setattr(DeltaTable, "restore", lambda *_, **__: {"numRestoredFile": 0})
    with pytest.raises(DataTampered, match="148 rows by deltalake, the checkpoint 150"):
        table.restore(checkpoint, ("2",), "m/9")
    assert DeltaTable(table.folder).version() == head


def damage(table: DeltaLakeTable, checkpoint: TableCheckpoint, draw: random.Random) -> None:
    """Damage one file that the checkpoint rests on."""
    manifest = table.kept.folder / "manifests" / f"{checkpoint.manifest}.json"
    named = json.loads(manifest.read_text())
    files = [table.folder / one["path"] for one in named["files"]]
    files += [table.folder / "_delta_log" / one["path"] for one in named["log"]]
    target = draw.choice([*files, manifest])
    body = target.read_bytes()
    match draw.choice(["flip", "cut", "swap", "older", "grow"]):
        case "flip":
            place = draw.randrange(len(body))
            target.write_bytes(body[:place] + bytes([body[place] ^ (1 << draw.randrange(8))]) + body[place + 1 :])
        case "cut":
            target.write_bytes(body[: draw.randrange(len(body))])
        case "swap":
            target.write_bytes(draw.choice([one for one in files if one != target]).read_bytes())
        case "older":
            target.write_bytes((table.kept.folder / "older").read_bytes())
        case _:
            target.write_bytes(body + b"\n")


def test_damaged_checkpoints_are_stopped_before_the_restore(table: DeltaLakeTable) -> None:
    """Of 200 damaged checkpoints (bits, cuts, swapped and older files, the log's too) none is restored."""
    table.kept.folder.mkdir()
    shutil.copyfile(table.folder / DeltaLog(table.folder).version(0).files[0].path, table.kept.folder / "older")
    with (table.kept.folder / "older").open("ab") as older:
        older.write(b"\0")
    checkpoint = table.checkpoint()
    write(table.folder, 2, range(7))
    folders = (table.folder, table.kept.folder)
    whole = {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}
    head = DeltaTable(table.folder).version()
    for seed in range(200):
        damage(table, checkpoint, random.Random(seed))  # noqa: S311 - chooses damage
        with pytest.raises((DataTampered, Rejected)):
            table.restore(checkpoint, ("2",), "m/9")
        for path, body in whole.items():
            if path.read_bytes() != body:
                path.write_bytes(body)
        assert DeltaLog(table.folder).head() == head
    assert table.restore(checkpoint, ("2",), "m/9").after == checkpoint.content.digest


def test_a_table_that_is_younger_than_its_checkpoint_is_refused(table: DeltaLakeTable, tmp_path: Path) -> None:
    """A table that was put back from an old copy behind our back is no place to restore to."""
    shutil.copytree(table.folder, tmp_path / "copy")
    write(table.folder, 1, range(3))
    checkpoint = table.checkpoint()
    shutil.rmtree(table.folder)
    shutil.copytree(tmp_path / "copy", table.folder)
    with pytest.raises(DataTampered, match="older than its checkpoint"):
        table.restore(checkpoint, ("2",), "m/9")


def test_a_log_with_checkpoints_is_read(table: DeltaLakeTable) -> None:
    """Where the log itself is summed up in checkpoints, the second reader finds the same table."""
    for number in range(3):
        write(table.folder, 1, [200 + number])
        DeltaTable(table.folder).create_checkpoint()
    (table.folder / "_delta_log" / f"{0:020}.json").unlink()
    checkpoint = table.checkpoint()
    table.verify_restorable(checkpoint)
    write(table.folder, 2, range(7))
    assert table.restore(checkpoint, ("2",), "m/9").after == checkpoint.content.digest


def test_a_log_that_does_not_say_who_wrote_is_refused(table: DeltaLakeTable) -> None:
    """When entries since the checkpoint are gone, nothing says who wrote them: the restore is refused."""
    checkpoint = table.checkpoint()
    write(table.folder, 1, range(3))
    write(table.folder, 2, range(3))
    DeltaTable(table.folder).create_checkpoint()
    (table.folder / "_delta_log" / f"{2:020}.json").unlink()
    with pytest.raises(Rejected, match="nothing says who wrote it"):
        table.restore(checkpoint, ("2",), "m/9")


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    """A folder without a log is no table."""
    with pytest.raises(NotFound, match="no Delta Lake table"):
        DeltaLakeTable(tmp_path, CheckpointFiles(tmp_path / "kept")).checkpoint()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(None, 604800.0), ("interval 30 days", 2592000.0), ("interval 1 week", 604800.0), ("168 hours", 604800.0)],
)
def test_retention_is_read(text: str | None, seconds: float) -> None:
    """A retention is an interval as Delta Lake writes it; 7 days without one."""
    assert parse_retention_interval(text) == seconds


def test_a_retention_that_is_none_is_refused() -> None:
    """What is no interval is no retention."""
    with pytest.raises(Rejected, match="is no interval"):
        parse_retention_interval("for ever")


KINDS = {
    pa.int64(): st.integers(-(2**62), 2**62),
    pa.int16(): st.integers(-99, 99),
    pa.float32(): st.floats(width=32),
    pa.float64(): st.floats(),
    pa.string(): st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4),
    pa.binary(): st.binary(max_size=4),
    pa.bool_(): st.booleans(),
    pa.date32(): st.dates(),
    pa.timestamp("us", "UTC"): st.integers(-(10**12), 10**12),
    pa.decimal128(12, 3): st.decimals(-1000, 1000, places=3),
    pa.list_(pa.int64()): st.lists(st.integers(-9, 9), max_size=3),
    pa.struct([("a", pa.string())]): st.fixed_dictionaries({"a": st.none() | st.just("x")}),
}


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_both_readers_agree_on_any_table(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Law: deltalake and DuckDB find the same digest, whatever types, nulls and added columns."""
    folder = tmp_path_factory.mktemp("law") / "t"
    kinds = data.draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=4))
    for commit in range(2):
        chosen = kinds[: len(kinds) if commit else data.draw(st.integers(1, len(kinds)))]
        count = data.draw(st.integers(1, 4))
        columns = {
            f"c{place}": pa.array(data.draw(st.lists(st.none() | KINDS[kind], min_size=count, max_size=count)), kind)
            for place, kind in enumerate(chosen)
        }
        write_deltalake(folder, pa.table(columns), mode="append", schema_mode="merge")
    log = DeltaLog(folder)
    assert duckdb_delta_digest(folder, log.version(1)) == delta_table._deltalake_digest(folder, 1)
