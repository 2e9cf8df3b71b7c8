"""Processes of models that are forked from a program with all imports, as the gateway's workers fork them.

A test process has threads and cannot fork a forkserver itself. As a program this is the forkserver: FD WORKER.
"""

import contextlib
import ctypes
import os
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

from surefoot.adapters.mlflow.model_host import run_model_host
from surefoot.core.domain import Version
from surefoot.models import forkserver
from surefoot.models.forkserver import Forkserver
from surefoot.models.model_process import ModelProcess, StartedProcess, fork_process, spawn_process
from tests.integration.gateway_process import Models
from tests.integration.waiting import ended

START_S = 180.0
"""Longest that the imports may take [s]."""


class RunningForkserver(Forkserver):
    """A forkserver in a program that runs already."""

    def __init__(self, end: socket.socket, pid: int) -> None:
        """Ask it over this socket."""
        self._end, self.pid = end, pid
        self._lock, self._gone = threading.Lock(), ""
        end.settimeout(forkserver._ANSWER_S)


@contextlib.contextmanager
def running_forkserver() -> Iterator[RunningForkserver]:
    """Start a forkserver; what it forks are children of this process."""
    libc = ctypes.CDLL(None)
    end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with end, theirs:
        command = [sys.executable, "-m", "tests.integration.model_forkserver", str(theirs.fileno()), str(os.getpid())]
        with subprocess.Popen(command, pass_fds=(theirs.fileno(),)) as program:
            theirs.close()
            libc.prctl(forkserver._PR_SET_CHILD_SUBREAPER, 1)
            try:
                end.settimeout(START_S)
                assert end.recv(1), "the forkserver has ended"
                yield RunningForkserver(end, program.pid)
            finally:
                libc.prctl(forkserver._PR_SET_CHILD_SUBREAPER, 0)
                end.close()  # which ends the program
                with contextlib.suppress(ProcessLookupError):
                    program.kill()


class ForkedModels(Models):
    """Loads each version into a process of its own.

    Attributes:
        forkserver: What forks the processes.
        memory_mb: Address space of a process, 0 for no limit [MB].
        started: Number of the version and process id of every process that was started.
    """

    def __init__(self, root: Path, server: Forkserver, memory_mb: int = 0) -> None:
        """Load from below root."""
        super().__init__(root)
        self.forkserver, self.memory_mb = server, memory_mb
        self.started: list[tuple[str, int]] = []

    def __call__(self, model: str, version: Version) -> ModelProcess:
        """Start a process; it verifies the digest before it loads."""
        arguments = [str(self.folder(model, version)), version.digest, str(self.memory_mb), "0"]
        slowly = spawn_process([sys.executable, "-m", "surefoot.adapters.mlflow.model_host", *arguments])
        start = fork_process(self.forkserver, arguments, slowly)

        def noted(descriptor: int) -> StartedProcess:
            process = start(descriptor)
            self.started.append((version.number, process.pid))
            return process

        return ModelProcess(noted)

    def folder(self, model: str, version: Version) -> Path:
        """Where a version is."""
        return self.root / version.number

    def living(self, number: str = "") -> list[int]:
        """Ids of the processes, of one version or of all, that have not ended."""
        return [pid for of, pid in self.started if number in ("", of) and not ended(pid)]


def main() -> None:
    """Import what models need, and fork."""
    from surefoot.adapters.mlflow.pyfunc.pyfunc_scorer import import_libraries_early  # noqa: PLC0415 - only the program needs it

    descriptor, worker = int(sys.argv[1]), int(sys.argv[2])
    warnings.simplefilter("ignore")
    with socket.socket(fileno=descriptor) as end:
        import_libraries_early()
        end.send(b"1")
        forkserver._serve(end, run_model_host, worker)


if __name__ == "__main__":
    main()
