"""Find or build the Python environment of a model version."""

import fcntl
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import surefoot
from surefoot.core.errors import Rejected, Unavailable
from surefoot.models.environments.environment_builder import failure_file, lock_file
from surefoot.models.environments.requirements import read_requirements

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]);"
    "from surefoot.adapters.mlflow.model_host import run_model_host; run_model_host(sys.argv[2:])"
)
"""Program of a version's process: it sees the code that hosts it, and of all other packages only those of its own."""
_POLL_S = 0.2
_MOST_BUILDS = 3
"""Builds that end without a word before the reason is taken to be the disk [count]."""


class VersionEnvironments:
    """Virtual environments of versions, one for each set of requirements, shared by all processes of an installation.

    Attributes:
        folder: Folder of all environments.
        wait_s: How long to wait for one that is being built [seconds].
    """

    def __init__(self, folder: Path, wait_s: float) -> None:
        """Know the folder; nothing is built yet."""
        self.folder = folder
        self.wait_s = wait_s

    def host_command(self, model: Path, arguments: Sequence[str]) -> list[str]:
        """The command that hosts a saved model in its own environment, which is built first where it is not there.

        Args:
            model: Directory of the saved model.
            arguments: Arguments of the model host, without the descriptor.

        Raises:
            Rejected: The environment cannot be built; the message names what is missing.
            Unavailable: It is still being built, or there was no package index; later it may be there.
        """
        python = self.find_python(model)
        return [str(python), "-I", "-c", _BOOT, str(self._host_code()), *arguments]

    def find_python(self, model: Path) -> Path:
        """The interpreter of a saved model's environment; raises what `host_command` raises."""
        asked = read_requirements(model)
        python = self.folder / asked.digest / "bin" / "python"
        if python.exists():
            return python
        self.folder.mkdir(parents=True, exist_ok=True)
        began, deadline = time.time(), time.monotonic() + self.wait_s
        builder, ended = self._start_builder(model, asked.digest), 0
        while not python.exists():
            if (builder is None or builder.poll() is not None) and not self._is_locked(asked.digest):
                self._raise_failure(asked.digest, began)
                ended += 1
                if ended > _MOST_BUILDS:
                    raise Unavailable(f"its environment was not built: {self.folder} cannot be written, or is full")
                builder = self._start_builder(model, asked.digest)
            if time.monotonic() >= deadline:
                raise Unavailable(
                    "its environment is being built, which may take minutes: ask again;"
                    f" {self.folder / asked.digest}.log says how far it is"
                )
            time.sleep(_POLL_S)
        return python

    def _start_builder(self, model: Path, digest: str) -> "subprocess.Popen[bytes] | None":
        """Start the program that builds it, unless another process has done so."""
        if self._is_locked(digest):
            return None
        command = [
            sys.executable,
            "-m",
            "surefoot.models.environments.environment_builder",
            str(self.folder),
            str(model),
        ]
        builder = subprocess.Popen(  # noqa: S603 - our own program
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # It goes on when nothing waits for it any more, and no ended process is left over.
        threading.Thread(target=builder.wait, name="environment", daemon=True).start()
        return builder

    def _is_locked(self, digest: str) -> bool:
        """Whether a build of it is under way."""
        try:
            with lock_file(self.folder, digest).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def _raise_failure(self, digest: str, since: float) -> None:
        """Raise what a build since a time has said; return where none has ended since then."""
        file = failure_file(self.folder, digest)
        try:
            if file.stat().st_mtime < since:
                return
            told = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        raise (Unavailable if told["retry"] else Rejected)(str(told["problem"]))

    def _host_code(self) -> Path:
        """A folder in which only our own package lies, so that nothing else of our environment is seen."""
        folder, package = self.folder / "host", Path(surefoot.__file__).parent
        link = folder / "surefoot"
        if not link.is_symlink() or link.resolve() != package.resolve():
            folder.mkdir(parents=True, exist_ok=True)
            fresh = folder / f".surefoot-{time.monotonic_ns()}"
            fresh.symlink_to(package)
            fresh.replace(link)
        return folder
