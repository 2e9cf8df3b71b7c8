"""Keep the configuration files of model versions, and write them back into place."""

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from surefoot.core.domain import Version
from surefoot.core.errors import ArtifactTampered, ConfigUnavailable, Rejected

MAX_CONFIG_FILE_BYTES = 16 << 20
"""Largest configuration file [bytes]."""
_VerifiedArtifact = Callable[[Version, str], Path]
"""Folder with the verified files of a version: (version, model)."""


class ConfigFileStore:
    """Store of configuration files: digests of what they hold now, stored contents, and atomic writes."""

    def __init__(self, project: Path, kept: Path, artifact: _VerifiedArtifact) -> None:
        """Remember where everything is; nothing is read yet.

        Args:
            project: Where relative paths begin.
            kept: Folder of the contents that were kept.
            artifact: Gives the folder of a version's verified files.
        """
        self._project, self._kept, self._artifact = project, kept, artifact

    def current_digest(self, file: str) -> str:
        """SHA-256 of what a file holds now; empty where there is no file.

        Raises:
            Rejected: It is no regular file, or too large.
            ConfigUnavailable: It cannot be read.
        """
        content = self._read(file)
        return "" if content is None else _digest(content)

    def keep_current(self, file: str) -> str:
        """Store the present content of a file.

        Returns:
            Its SHA-256; empty where there is no file.

        Raises:
            Rejected: It is no regular file, is too large, or its folder does not exist.
            ConfigUnavailable: It cannot be read or kept.
        """
        folder = self._place(file).parent
        if not folder.is_dir():
            raise Rejected(f"{file} cannot be written: folder {folder} does not exist")
        content = self._read(file)
        return "" if content is None else self._keep(content)

    def keep_bundled(self, model: str, version: Version, source: str) -> str:
        """Store the content of a file that is in a version's artifact.

        Returns:
            Its SHA-256.

        Raises:
            Rejected: The artifact has no such file, or it is too large.
            ConfigUnavailable: It cannot be kept.
            SurefootError: The artifact cannot be had.
        """
        path = self._artifact(version, model) / source
        if not path.is_file():
            raise Rejected(
                f"the artifact of {model} version {version.number} has no file {source}, which 'bundle' in the policy"
                " names: log it with the model"
            )
        with _unavailable(f"{source} of {model} version {version.number} cannot be read"):
            content = path.read_bytes()
        return self._keep(_bounded(content, source))

    def write(self, file: str, content: str) -> None:
        """Write a stored content to a file atomically; an empty digest removes the file.

        Raises:
            ArtifactTampered: What was kept is gone or altered.
            ConfigUnavailable: The file cannot be written.
        """
        place = self._place(file)
        if not content:
            with _unavailable(f"{file} cannot be removed"):
                place.unlink(missing_ok=True)
                _sync_folder(place.parent)
            return
        kept = self._kept / content.removeprefix("sha256:")
        try:
            found = kept.read_bytes()
        except FileNotFoundError as error:
            raise ArtifactTampered(f"the content {content[:19]} of {file} is gone: {kept}") from error
        except OSError as error:
            raise ConfigUnavailable(f"the content {content[:19]} of {file} cannot be read: {error}") from error
        if _digest(found) != content:
            raise ArtifactTampered(f"the content {content[:19]} of {file} was altered: {kept}")
        with _unavailable(f"{file} cannot be written"):
            _replace(place, found)

    def _place(self, file: str) -> Path:
        """Where a file is; a link is followed, so that it stays one."""
        return (self._project / Path(file).expanduser()).resolve()

    def _read(self, file: str) -> bytes | None:
        place = self._place(file)
        with _unavailable(f"{file} cannot be read"):
            try:
                regular = stat.S_ISREG(place.stat().st_mode)
            except FileNotFoundError:
                return None
            if not regular:
                raise Rejected(f"{file} is no regular file")
            return _bounded(place.read_bytes(), file)

    def _keep(self, content: bytes) -> str:
        digest = _digest(content)
        place = self._kept / digest.removeprefix("sha256:")
        with _unavailable(f"{place} cannot be written"):
            self._kept.mkdir(parents=True, exist_ok=True)
            if not place.is_file() or place.read_bytes() != content:
                _replace(place, content)
        return digest


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _bounded(content: bytes, file: str) -> bytes:
    if len(content) > MAX_CONFIG_FILE_BYTES:
        raise Rejected(f"{file} has {len(content):,} bytes; a configuration file has at most {MAX_CONFIG_FILE_BYTES:,}")
    return content


@contextlib.contextmanager
def _unavailable(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigUnavailable(f"{what}: {error}") from error


def _replace(place: Path, content: bytes) -> None:
    """Write a file beside its place, then put it there: readers see the old content or the new one."""
    mode = stat.S_IMODE(place.stat().st_mode) if place.exists() else 0o644
    handle, fresh = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
    try:
        with os.fdopen(handle, "wb") as target:
            target.write(content)
            target.flush()
            os.fchmod(target.fileno(), mode)
            os.fsync(target.fileno())
        Path(fresh).replace(place)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise
    _sync_folder(place.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
