"""Download a model version's artifacts, verify their digest, and load the model."""

import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from surefoot.adapters.mlflow.artifact_contents import refuse_outside_paths
from surefoot.adapters.mlflow.load_errors import load_failure_reason
from surefoot.adapters.mlflow.pyfunc.pyfunc_scorer import PyfuncScorer
from surefoot.core.domain import Version
from surefoot.core.errors import (
    ArtifactTampered,
    InvariantBroken,
    NotFound,
    RegistryUnavailable,
    Rejected,
    SurefootError,
)

if TYPE_CHECKING:
    from types import ModuleType

    import mlflow

FILE_ADDED_BY_DOWNLOAD = "registered_model_meta"
"""File that MLflow adds when it downloads; it holds nothing but the name and number that we asked for."""
_BLOCK = 1 << 20
_NO_SUCH = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"})
_REFUSED = frozenset({"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"})


def _mlflow() -> "ModuleType":
    """Import MLflow late: it costs seconds, and its client would retry a dead server for four minutes."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow  # noqa: PLC0415 - lazily, see above
    import mlflow.pyfunc  # noqa: PLC0415 - same

    return mlflow


def list_artifact_files(root: Path) -> Iterator[tuple[str, Path]]:
    """Every file below root with its POSIX path from there.

    Raises:
        ArtifactTampered: There is a symbolic link or something else that is not a regular file.
    """
    pending = [root]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    pending.append(path)
                elif stat.S_ISREG(mode):
                    yield path.relative_to(root).as_posix(), path
                else:
                    raise ArtifactTampered(f"{path.relative_to(root)} is not a regular file; a model holds only those")


def directory_digest(path: Path) -> str:
    """Digest a whole model directory: names, sizes and bytes of all its files.

    Args:
        path: The directory that holds `MLmodel`.

    Returns:
        "sha256:" and 64 hex digits; the same wherever and whenever the same files are downloaded.

    Raises:
        ArtifactTampered: It holds a symbolic link or something else that is not a regular file.
        NotFound: There is no such directory, or it holds no file.
    """
    if not path.is_dir():
        raise NotFound(f"{path} is not a directory")
    whole, empty = hashlib.sha256(), True
    for name, file in sorted(list_artifact_files(path), key=lambda pair: os.fsencode(pair[0])):
        if name == FILE_ADDED_BY_DOWNLOAD:
            continue
        own, size = hashlib.sha256(), 0
        with file.open("rb") as content:
            while block := content.read(_BLOCK):
                own.update(block)
                size += len(block)
        whole.update(b"%s\0%d\0%s\0" % (os.fsencode(name), size, own.hexdigest().encode()))
        empty = False
    if empty:
        raise NotFound(f"{path} holds no file of a model")
    return "sha256:" + whole.hexdigest()


class ArtifactCache:
    """Model versions on this host, kept by digest, so that a rollback needs no registry.

    Attributes:
        root: Directory of the cache; one directory a digest.
        tracking_uri: The MLflow server.
    """

    def __init__(self, root: Path, tracking_uri: str) -> None:
        """Remember where; nothing is contacted yet."""
        self.root = root
        self.tracking_uri = tracking_uri

    def fetch(self, model: str, number: str) -> tuple[Path, str]:
        """Download a version and file it under the digest of what came.

        Returns:
            Its directory in the cache, and its digest.

        Raises:
            NotFound: No such model or version, or the registry holds no file of it.
            RegistryUnavailable: MLflow does not answer.
            ArtifactTampered: What came is not made of regular files.
            Rejected: MLflow refuses us.
            InvariantBroken: MLflow did not download to where it was told.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".incoming-", dir=self.root) as scratch:
                arrived = self._download(model, number, Path(scratch, "arriving"))
                return self._file_away(arrived, Path(scratch, "broken"))
        except NotFound as error:
            raise NotFound(f"the registry does not have {model} version {number}: {error}") from error
        except OSError as error:  # requests' errors are OSErrors too
            raise RegistryUnavailable(f"{model} version {number} cannot be downloaded: {error}") from error

    def verified(self, version: Version, model: str) -> Path:
        """Directory whose bytes are those of the version, digested just now.

        Raises:
            ArtifactTampered: The registry's bytes are not of that digest.
            NotFound: Neither the cache nor the registry has it.
            RegistryUnavailable: The cache does not have it, and MLflow does not answer.
            Rejected: MLflow refuses us.
        """
        home = self._home(version.digest)
        if self._holds(home, version.digest):
            return home
        path, digest = self.fetch(model, version.number)
        if digest != version.digest:
            what = f"{model} version {version.number}"
            raise ArtifactTampered(f"{what}: the registry's files are {digest}, the journal says {version.digest}")
        return path

    def copy_problem(self, version: Version) -> str:
        """Why the copy of a version on this host cannot be used; empty where it is whole, or not there."""
        home = self._home(version.digest)
        if not home.exists() or self._holds(home, version.digest):
            return ""
        return f"the files of version {version.number} on this host are not of the digest that the journal names"

    def _home(self, digest: str) -> Path:
        name = digest.removeprefix("sha256:")
        if len(name) != hashlib.sha256().digest_size * 2 or set(name) - set("0123456789abcdef"):
            raise ArtifactTampered(f"{digest!r} is not the digest of a model")
        return self.root / name

    def _file_away(self, arrived: Path, broken: Path) -> tuple[Path, str]:
        digest = directory_digest(arrived)
        home = self._home(digest)
        if not self._holds(home, digest):
            if home.exists():  # its bytes rotted or were edited
                home.rename(broken)
            try:
                arrived.rename(home)
            except OSError:
                if not self._holds(home, digest):  # else another process filed the same bytes first
                    raise
        return home, digest

    @staticmethod
    def _holds(home: Path, digest: str) -> bool:
        try:
            return directory_digest(home) == digest
        except (NotFound, ArtifactTampered, OSError):
            return False

    def _download(self, model: str, number: str, into: Path) -> Path:
        lib = _mlflow()
        uri = self.tracking_uri
        try:
            client = lib.MlflowClient(tracking_uri=uri, registry_uri=uri)
            # models:/ URIs are resolved here: MLflow's own resolver listens to the global registry URI only.
            where = client.get_model_version_download_uri(model, number)
            if where.startswith("models:/m-"):
                where = client.get_logged_model(where.removeprefix("models:/").partition("/")[0]).artifact_location
            into.mkdir()
            # It may be a directory below `into`, named as the registry's is.
            arrived = Path(
                lib.artifacts.download_artifacts(where, dst_path=str(into), tracking_uri=uri, registry_uri=uri)
            )
        except lib.exceptions.MlflowException as error:
            raise _translated(error, model, number) from error
        if not arrived.is_relative_to(into):
            raise InvariantBroken(f"MLflow put {model} version {number} into {arrived}, not where it was told to")
        return arrived


def _translated(error: "mlflow.exceptions.MlflowException", model: str, number: str) -> SurefootError:
    """Our error for one of MLflow's."""
    first = str(error.message).partition("\n")[0]
    what = f"{model} version {number}: {first}"
    if error.error_code in _NO_SUCH:
        return NotFound(first)  # `fetch` says of what
    if error.error_code in _REFUSED:
        return Rejected(what)
    return RegistryUnavailable(what)


def load_model_directory(path: Path) -> PyfuncScorer:
    """Load a verified model directory.

    Args:
        path: What `ArtifactCache.verified` returned: digest before load, always.

    Raises:
        Rejected: The files are not a model that this environment can load, or name a file outside of the directory.
    """
    refuse_outside_paths(path)
    lib = _mlflow()
    # A model's own code would otherwise leave compiled files in its tree, and its digest would change.
    sys.dont_write_bytecode = True
    try:
        return PyfuncScorer(lib.pyfunc.load_model(str(path)), path)
    except Exception as error:  # loading runs the model's own code, which may raise anything
        raise Rejected(f"the model cannot be loaded: {load_failure_reason(error, path)}") from error
