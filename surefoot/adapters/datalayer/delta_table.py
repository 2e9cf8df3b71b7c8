"""Checkpoint a model's Delta Lake output table, and restore it after a rollback."""

import itertools
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pyarrow as pa

from surefoot.adapters.datalayer.checkpoint_files import CheckpointFiles, file_digest
from surefoot.adapters.datalayer.delta_digest import duckdb_delta_digest
from surefoot.adapters.datalayer.delta_log import Commit, DeltaLog, LoggedVersion
from surefoot.adapters.datalayer.parquet_digest import check_restored_copy
from surefoot.adapters.datalayer.row_digest import digest_record_batches
from surefoot.core.errors import DataTampered, DataUnavailable, NewerWrite, Rejected, TableNotReachable
from surefoot.core.tables.table_checkpoint import RestoreResult, TableCheckpoint, TableDigest

if TYPE_CHECKING:
    from deltalake import DeltaTable

_VERSION_KEY, _INTENT_KEY = "model_version", "surefoot_restore"
"""Keys in the information of a commit: the model version that wrote it, and the restore that it is."""


@dataclass(frozen=True, slots=True)
class DeltaLakeTable:
    """One Delta Lake table, which can be checkpointed and restored.

    Attributes:
        folder: The folder.
        kept: Where the manifests of its checkpoints are.
    """

    folder: Path
    kept: CheckpointFiles

    def digest(self) -> TableDigest:
        """What the table holds now."""
        return _deltalake_digest(self.folder, DeltaLog(self.folder).head())

    def checkpoint(self) -> TableCheckpoint:
        """Note the version, and the digests of its data files and of its log."""
        log = DeltaLog(self.folder)
        version = log.version(log.head())
        content = _deltalake_digest(self.folder, version.number)
        files = [{"path": one.path, "sha256": self._digest_of(self.folder / one.path)} for one in version.files]
        entries = [{"path": name, "sha256": self._digest_of(log.folder / name)} for name in version.log]
        manifest = self.kept.store_manifest({"version": version.number, "files": files, "log": entries})
        return TableCheckpoint(str(version.number), content, manifest)

    def verify_restorable(self, checkpoint: TableCheckpoint) -> None:
        """Restore a copy of the table; deltalake and DuckDB compare it with the checkpoint."""
        log, wanted = DeltaLog(self.folder), int(checkpoint.position)
        self._check_files(checkpoint, log)
        with self._scratch(log, log.version(wanted)) as scratch:
            copy = DeltaLog(scratch)
            if copy.head() == wanted:
                _write_something(scratch)  # a restore of the newest version would prove nothing
            _restore(_open(scratch), wanted, "proof")
            restored = copy.head()
            check_restored_copy(checkpoint.content, _deltalake_digest(scratch, restored), "deltalake")
            check_restored_copy(checkpoint.content, duckdb_delta_digest(scratch, copy.version(restored)), "DuckDB")

    def restore(self, checkpoint: TableCheckpoint, versions: tuple[str, ...], intent: str) -> RestoreResult:
        """Add a version that holds what the checkpoint holds, unless another writer has committed since."""
        log, wanted = DeltaLog(self.folder), int(checkpoint.position)
        table = _open(self.folder)
        seen, content = int(table.version()), checkpoint.content.digest
        if seen < wanted:
            raise DataTampered(f"{self.folder} is at version {seen}, older than its checkpoint of version {wanted}")
        commits = [one for one in log.commits(wanted, seen) if one.changes_data]
        if any(one.info.get(_INTENT_KEY) == intent for one in commits) or not commits:
            return RestoreResult(content, content, already=True)
        for one in commits:
            if str(one.info.get(_VERSION_KEY, "")) not in versions and _INTENT_KEY not in one.info:
                raise NewerWrite(
                    f"version {one.version} of {self.folder} was written since the checkpoint by {_who(one)}"
                )
        self.verify_restorable(checkpoint)
        try:
            before = _deltalake_digest(self.folder, seen).digest
        except DataTampered:  # what was written since cannot be read: so much more reason to take it back
            before = "unreadable"
        # The handle stands at the version that was looked at: a commit since then makes this one fail.
        _restore(table, wanted, intent)
        after = _deltalake_digest(self.folder, seen + 1)
        if after != checkpoint.content:
            raise DataTampered(
                f"{self.folder} does not hold its checkpoint after the restore: version {seen + 1} is wrong"
            )
        return RestoreResult(before, after.digest, already=False)

    def _check_files(self, checkpoint: TableCheckpoint, log: DeltaLog) -> None:
        """Compare data files and log with what the checkpoint noted.

        Raises:
            DataTampered: One is gone or changed.
        """
        manifest = self.kept.read_manifest(checkpoint.manifest)
        for one in cast("list[Mapping[str, str]]", manifest["files"]):
            path = self.folder / one["path"]
            if not path.is_file():
                raise DataTampered(f"a data file of the checkpoint is gone, perhaps by VACUUM: {path}")
            if self._digest_of(path) != one["sha256"]:
                raise DataTampered(f"a data file of the checkpoint is damaged: {path}")
        for one in cast("list[Mapping[str, str]]", manifest["log"]):
            path = log.folder / one["path"]
            # Old entries of a log are removed once a checkpoint of the log holds them.
            if path.is_file() and self._digest_of(path) != one["sha256"]:
                raise DataTampered(f"an entry of the table's log is changed: {path}")

    @contextmanager
    def _scratch(self, log: DeltaLog, version: LoggedVersion) -> Iterator[Path]:
        """A copy of the table with the data files of one version; data files are never changed, so links will do."""
        with self.kept.scratch_folder() as scratch:
            try:
                shutil.copytree(log.folder, scratch / "_delta_log")
                for one in version.files:
                    target = scratch / one.path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _link_or_copy(self.folder / one.path, target)
            except OSError as error:
                raise DataUnavailable(f"a scratch copy of {self.folder} cannot be made: {error}") from error
            yield scratch

    def _digest_of(self, path: Path) -> str:
        try:
            return file_digest(path)
        except OSError as error:
            raise DataUnavailable(f"{path} cannot be read: {error}") from error


def _who(commit: Commit) -> str:
    """Who has made a commit, in words."""
    said = commit.info.get(_VERSION_KEY)
    return f"model version {said} ({commit.operation})" if said else f"an unnamed writer ({commit.operation})"


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _open(folder: Path, version: int | None = None) -> "DeltaTable":
    """The table at a version; at its newest without one.

    Raises:
        TableNotReachable: deltalake is not installed.
        Rejected: It cannot read the table.
    """
    try:
        from deltalake import DeltaTable  # noqa: PLC0415 - an extra
        from deltalake.exceptions import DeltaError  # noqa: PLC0415 - same
    except ImportError as error:
        raise TableNotReachable("Delta Lake tables need deltalake: pip install 'surefoot[delta]'") from error
    try:
        return DeltaTable(folder, version=version)
    except (DeltaError, OSError, ValueError) as error:
        raise Rejected(f"{folder} cannot be read as a Delta Lake table: {_line(error)}") from error


def _deltalake_digest(folder: Path, version: int) -> TableDigest:
    """What a version of a table holds, read by deltalake."""
    table = _open(folder, version)
    try:
        return digest_record_batches(pa.RecordBatchReader.from_stream(table.scan()))
    except Exception as error:
        # deltalake raises errors of several families from its engine, some of them plain exceptions.
        raise DataTampered(f"deltalake cannot read version {version} of {folder}: {_line(error)}") from error


def _restore(table: "DeltaTable", version: int, intent: str) -> None:
    """Have deltalake restore a version.

    Raises:
        NewerWrite: Another writer has committed since the table was opened.
        Rejected: deltalake cannot restore it.
    """
    from deltalake import CommitProperties  # noqa: PLC0415 - an extra
    from deltalake.exceptions import CommitFailedError  # noqa: PLC0415 - same

    marked = CommitProperties(custom_metadata={_INTENT_KEY: intent}, max_commit_retries=0)
    try:
        table.restore(version, commit_properties=marked)
    except CommitFailedError as error:
        raise NewerWrite(f"{table.table_uri} was written while it was restored; nothing was changed") from error
    except Exception as error:
        raise Rejected(f"deltalake cannot restore version {version} of {table.table_uri}: {_line(error)}") from error


def _write_something(folder: Path) -> None:
    """Append the first row of a table to it once more, in a scratch copy."""
    from deltalake import write_deltalake  # noqa: PLC0415 - an extra

    table = _open(folder)
    try:
        reader = pa.RecordBatchReader.from_stream(table.scan())
        rows = pa.Table.from_batches([batch.slice(0, 1) for batch in itertools.islice(reader, 1)], reader.schema)
        write_deltalake(table, rows, mode="append")
    except Exception as error:
        raise Rejected(f"deltalake cannot write to a copy of the table: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
