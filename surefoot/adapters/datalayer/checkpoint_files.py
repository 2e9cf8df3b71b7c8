"""Store the files of table checkpoints, each named by its own digest."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from surefoot.core.errors import DataTampered, DataUnavailable

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class CheckpointFiles:
    """Content-addressed store of the checkpoint files of one table.

    Attributes:
        folder: Where they are.
    """

    folder: Path

    def store(self, source: Path) -> tuple[str, int]:
        """Copy a file, unless the same bytes are kept already; its SHA-256 and size [bytes].

        Raises:
            DataUnavailable: It cannot be read, or there is no room.
        """
        objects = self.folder / "objects"
        fresh = objects / f".{secrets.token_hex(8)}"
        try:
            objects.mkdir(parents=True, exist_ok=True)
            with source.open("rb") as read, fresh.open("xb") as written:
                digest, size = hashlib.sha256(), 0
                while chunk := read.read(_CHUNK):
                    digest.update(chunk)
                    written.write(chunk)
                    size += len(chunk)
                written.flush()
                os.fsync(written.fileno())
            fresh.chmod(0o444)
            # Also where a file of this name is there: it may have been damaged since.
            fresh.replace(objects / digest.hexdigest())
        except OSError as error:
            raise DataUnavailable(f"{source} cannot be kept: {error}") from error
        finally:
            fresh.unlink(missing_ok=True)
        return digest.hexdigest(), size

    def store_manifest(self, manifest: Mapping[str, object]) -> str:
        """Write a manifest; its SHA-256."""
        body = json.dumps(manifest, sort_keys=True).encode()
        digest = hashlib.sha256(body).hexdigest()
        path = self.folder / "manifests" / f"{digest}.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_durably(path, body)
        except OSError as error:
            raise DataUnavailable(f"{path} cannot be written: {error}") from error
        return digest

    def read_manifest(self, digest: str) -> dict[str, object]:
        """The manifest of a checkpoint.

        Raises:
            DataTampered: It is gone or changed.
        """
        path = self.folder / "manifests" / f"{digest}.json"
        try:
            body = path.read_bytes()
        except OSError as error:
            raise DataTampered(f"the manifest of the checkpoint is gone: {error}") from error
        if hashlib.sha256(body).hexdigest() != digest:
            raise DataTampered(
                f"the manifest of the checkpoint is changed: {path} does not have the digest of its name"
            )
        found: dict[str, object] = json.loads(body)
        return found

    def verified_path(self, digest: str) -> Path:
        """Where a file is kept, after its bytes were checked.

        Raises:
            DataTampered: It is gone or damaged.
        """
        path = self.folder / "objects" / digest
        try:
            found = file_digest(path)
        except OSError as error:
            raise DataTampered(f"a file of the checkpoint is gone: {error}") from error
        if found != digest:
            raise DataTampered(f"a file of the checkpoint is damaged: {path} does not have the digest of its name")
        return path

    @contextmanager
    def scratch_folder(self) -> Iterator[Path]:
        """A folder for a scratch copy, removed at the end."""
        folder = self.folder / "scratch" / secrets.token_hex(8)
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise DataUnavailable(f"there is no room for a scratch copy: {error}") from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as read:
        return hashlib.file_digest(read, "sha256").hexdigest()


def _write_durably(path: Path, body: bytes) -> None:
    """Write a file as a whole or not at all, on the disk when this returns."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with fresh.open("xb") as written:
            written.write(body)
            written.flush()
            os.fsync(written.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def copy_durably(source: Path, target: Path) -> None:
    """Copy a file to a place where it appears as a whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        shutil.copyfile(source, fresh)
        with fresh.open("rb+") as written:
            os.fsync(written.fileno())
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)
