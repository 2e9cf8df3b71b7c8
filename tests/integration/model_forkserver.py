"""Processes of models that are forked from a program with all imports, almost as the gateway's workers fork them.

A test process has threads and cannot fork a forkserver itself.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from surefoot.core.domain import Version
from surefoot.models.forking.forkserver_program import ForkserverProgram
from surefoot.models.model_process import ModelProcess, StartedProcess, fork_process, spawn_process
from tests.integration.gateway_process import Models
from tests.integration.waiting import ended


@contextlib.contextmanager
def running_forkserver() -> Iterator[ForkserverProgram]:
    """Give a forkserver of model hosts, which starts with the first of them; all of them end with it."""
    made = ForkserverProgram([sys.executable, "-m", "surefoot.adapters.mlflow.model_forkserver"], OMP_NUM_THREADS="1")
    try:
        yield made
    finally:
        made.close()


class ForkedModels(Models):
    """Loads each version into a process of its own.

    Attributes:
        forkserver: What forks the processes.
        memory_mb: Address space of a process, 0 for no limit [MB].
        started: Number of the version and process id of every process that was started.
    """

    def __init__(self, root: Path, server: ForkserverProgram, memory_mb: int = 0) -> None:
        """Load from below root."""
        super().__init__(root)
        self.forkserver, self.memory_mb = server, memory_mb
        self.started: list[tuple[str, int]] = []
        self._processes: list[tuple[str, psutil.Process]] = []

    def __call__(self, model: str, version: Version) -> ModelProcess:
        """Start a process; it verifies the digest before it loads."""
        arguments = [str(self.folder(model, version)), version.digest, str(self.memory_mb), "0"]
        slowly = spawn_process([sys.executable, "-m", "surefoot.adapters.mlflow.model_host", *arguments])
        start = fork_process(self.forkserver, arguments, slowly)

        def noted(descriptor: int) -> StartedProcess:
            process = start(descriptor)
            self.started.append((version.number, process.pid))
            self._processes.append((version.number, psutil.Process(process.pid)))
            return process

        return ModelProcess(noted)

    def folder(self, model: str, version: Version) -> Path:
        """Where a version is."""
        return self.root / version.number

    def living(self, number: str = "") -> list[int]:
        """Ids of the processes, of one version or of all, that have not ended."""
        return [process.pid for of, process in self._processes if number in ("", of) and not ended(process)]
