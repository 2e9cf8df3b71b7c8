"""Checkpoint a model's Parquet output table, and restore it after a rollback."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from surefoot.adapters.datalayer.checkpoint_files import CheckpointFiles, copy_durably, file_digest
from surefoot.adapters.datalayer.parquet_digest import arrow_digest, check_restored_copy, duckdb_digest
from surefoot.core.errors import DataTampered, DataUnavailable, NewerWrite, NotFound, Rejected
from surefoot.core.tables.table_checkpoint import RestoreResult, TableCheckpoint, TableDigest

_VERSION_SEGMENT = re.compile(r"model_version=([^/]+)")
_VERSION_KEY = b"model_version"


@dataclass(frozen=True, slots=True)
class ParquetTable:
    """One table stored as a folder of Parquet files, which can be checkpointed and restored.

    Attributes:
        folder: The folder.
        kept: Where its checkpoints are.
    """

    folder: Path
    kept: CheckpointFiles

    def digest(self) -> TableDigest:
        """What the folder holds now.

        Raises:
            Rejected: It is no folder, or a file in it is no Parquet file.
        """
        try:
            return arrow_digest([self.folder / path for path in self._paths()])
        except DataTampered as error:  # what is there now is the writer's business, not that of a checkpoint
            raise Rejected(f"{self.folder}: {error}") from error

    def checkpoint(self) -> TableCheckpoint:
        """Copy every file; the manifest is where the checkpoint is found."""
        before = self._listing()
        files = []
        for path in before:
            digest, size = self.kept.store(self.folder / path)
            files.append({"path": path, "sha256": digest, "size": size})
        if self._listing() != before:
            raise DataUnavailable(f"{self.folder} was written while it was checkpointed: it is tried again")
        content = self._digest_kept({str(one["path"]): str(one["sha256"]) for one in files})
        manifest = self.kept.store_manifest({"files": files})
        return TableCheckpoint(manifest, content, manifest)

    def verify_restorable(self, checkpoint: TableCheckpoint) -> None:
        """Restore into a scratch folder; pyarrow and DuckDB compare it with the checkpoint."""
        files = self._manifest(checkpoint)
        with self.kept.scratch_folder() as scratch:
            copies = []
            for path, digest in files.items():
                copies.append(scratch / path)
                copy_durably(self.kept.verified_path(digest), copies[-1])
            check_restored_copy(checkpoint.content, arrow_digest(copies), "pyarrow")
            check_restored_copy(checkpoint.content, duckdb_digest(copies), "DuckDB")

    def restore(self, checkpoint: TableCheckpoint, versions: tuple[str, ...], intent: str) -> RestoreResult:
        """Put files back that some versions have changed, and take away those that they have added.

        What is taken away is kept beside the checkpoints, in `taken_back/`.
        """
        self.verify_restorable(checkpoint)
        wanted = self._manifest(checkpoint)
        found = {path: self._file_digest(path) for path in self._paths()}
        if missing := sorted(set(wanted) - set(found)):
            raise NewerWrite(
                f"{self.folder / missing[0]} was removed since the checkpoint, and nothing says by which version"
            )
        changed = [path for path, digest in found.items() if wanted.get(path) != digest]
        content = checkpoint.content.digest
        if not changed:
            return RestoreResult(content, content, already=True)
        for path in changed:
            if (writer := self._writer(path)) not in versions:
                by = f"version {writer}" if writer else "a writer that is not named in it"
                raise NewerWrite(f"{self.folder / path} was written since the checkpoint by {by}")
        try:
            before = self.digest().digest
        except Rejected:  # what was written since is no Parquet file: so much more reason to take it back
            before = "unreadable"
        aside = self.kept.folder / "taken_back" / intent.replace("/", "-")
        for path in changed:
            self._put_back(path, found[path], wanted.get(path), aside)
        if newer := {path: self._file_digest(path) for path in self._paths()}.items() - wanted.items():
            came = min(path for path, _ in newer)
            raise NewerWrite(f"{self.folder / came} was written while the folder was restored; it was not touched")
        return RestoreResult(before, self.digest().digest, already=False)

    def _put_back(self, path: str, seen: str, wanted: str | None, aside: Path) -> None:
        """Replace or take away one file, unless it has changed since it was looked at."""
        target = self.folder / path
        if self._file_digest(path) != seen:
            raise NewerWrite(f"{target} was written while the folder was restored; it was not touched")
        try:
            copy_durably(target, aside / path)
            if wanted is None:
                target.unlink()
            else:
                copy_durably(self.kept.verified_path(wanted), target)
        except OSError as error:
            raise DataUnavailable(f"{target} cannot be put back: {error}") from error

    def _manifest(self, checkpoint: TableCheckpoint) -> dict[str, str]:
        """SHA-256 of each file of a checkpoint, by path."""
        files = cast("list[Mapping[str, object]]", self.kept.read_manifest(checkpoint.manifest)["files"])
        return {str(one["path"]): str(one["sha256"]) for one in files}

    def _digest_kept(self, files: Mapping[str, str]) -> TableDigest:
        return arrow_digest([self.kept.verified_path(digest) for digest in files.values()])

    def _paths(self) -> list[str]:
        """Paths of the files below the folder; names that begin with a dot or an underscore are no part of a table."""
        if not self.folder.is_dir():
            raise NotFound(f"there is no folder {self.folder}")
        try:
            found = [path.relative_to(self.folder) for path in self.folder.rglob("*.parquet") if path.is_file()]
        except OSError as error:
            raise DataUnavailable(f"{self.folder} cannot be read: {error}") from error
        return sorted(path.as_posix() for path in found if not any(part[0] in "._" for part in path.parts))

    def _listing(self) -> dict[str, tuple[int, int, int]]:
        """What tells whether a file was written, by path."""
        found = {}
        for path in self._paths():
            with suppress(FileNotFoundError):
                seen = (self.folder / path).stat()
                found[path] = seen.st_size, seen.st_mtime_ns, seen.st_ino
        return found

    def _file_digest(self, path: str) -> str:
        try:
            return file_digest(self.folder / path)
        except OSError as error:
            raise DataUnavailable(f"{self.folder / path} cannot be read: {error}") from error

    def _writer(self, path: str) -> str:
        """Number of the version that a file says it was written by; empty when it says nothing."""
        if named := _VERSION_SEGMENT.search(path):
            return named[1]
        try:
            said = pq.read_metadata(self.folder / path).metadata or {}
        except (pa.ArrowException, OSError):
            return ""
        return str(said.get(_VERSION_KEY, b"").decode("utf-8", "replace"))
