"""Start separate processes, forked by a forkserver, in which model versions score logged requests."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from surefoot.adapters.mlflow.artifacts import ArtifactCache
from surefoot.core.domain import Version
from surefoot.core.errors import Rejected
from surefoot.models.child_process_scorer import ChildProcessScorer
from surefoot.models.environments.version_environments import VersionEnvironments
from surefoot.models.forking.forkserver_program import ForkserverProgram
from surefoot.models.model_process import (
    ModelProcess,
    ProcessDied,
    ProcessForker,
    StartProcess,
    fork_process,
    spawn_process,
)
from surefoot.models.rows.independence import IndependenceResult

if TYPE_CHECKING:
    import pandas as pd

# Libraries read the number of their threads when they are imported; two versions beside each other, each with a thread
# for each processor, take ten times as long.
_PROGRAM = (sys.executable, "-m", "surefoot.adapters.mlflow.model_forkserver")
_program = ForkserverProgram(_PROGRAM, OMP_NUM_THREADS="1")
_forkservers: list[ProcessForker] = [_program]
"""The last one forks all versions of this process: MLflow is imported once for them, which takes seconds."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class ProcessScorer(ChildProcessScorer):
    """Scores rows with one version that runs in a separate process."""

    def preprocessed(self, rows: list[dict[str, object]]) -> "pd.DataFrame":
        """What the model is fed after everything that goes before it but keeps the columns."""
        import pandas as pd  # noqa: PLC0415 - costs a command half a second

        columns = self.model_inputs(rows)
        return pd.DataFrame({str(column["name"]): _column(column) for column in columns})


def _column(told: dict[str, object]) -> object:
    """A column as its process has told it: numbers are numbers again, all else is text or missing."""
    import pandas as pd  # noqa: PLC0415 - costs a command half a second

    values, kind = told["values"], str(told["kind"])
    if kind:
        return np.array(values, dtype=np.float64).astype(kind)
    return pd.Series(values, dtype=object)


@dataclass(frozen=True, slots=True)
class LoadResult:
    """Result of loading a version on this host and scoring some rows.

    Attributes:
        problem: Why it cannot be served here, in one line; empty when it can.
        independence: Whether it answers each row by itself; None when it was not loaded.
        missing: Packages that its requirements name and that are not installed, though it answers without them.
    """

    problem: str
    independence: IndependenceResult | None = None
    missing: tuple[str, ...] = ()


class VersionProcesses:
    """Starts processes of verified versions; this process never loads a model."""

    def __init__(
        self,
        cache: ArtifactCache,
        memory_mb: int,
        environments: Callable[[str], VersionEnvironments | None] = lambda _model: None,
    ) -> None:
        """Know where versions come from.

        Args:
            cache: Verified copies of versions.
            memory_mb: Address space of each process [MB].
            environments: Environments of a model's versions; None where they share that of this host.
        """
        self._cache = cache
        self._memory_mb = memory_mb
        self._environments = environments

    def start_scorer(self, model: str, version: Version) -> ProcessScorer:
        """A version for the evidence; its process is started at the first question.

        Raises:
            ArtifactTampered: Its bytes are not those of its digest.
            RegistryUnavailable: It is not on this host, and MLflow does not answer.
            Rejected: An environment of its own cannot be built.
            Unavailable: An environment of its own is still being built.
        """
        path = self._cache.verified(version, model)
        return ProcessScorer(self._start(path, version, self._environments(model)))

    def find_copy_problem(self, version: Version) -> str:
        """Why the copy of a version on this host cannot be used; empty where it is whole, or not there."""
        return self._cache.copy_problem(version)

    def find_load_problem(self, model: str, version: Version) -> str:
        """Why a version cannot be served here, in one line; empty when it can. Raises what `trial` raises."""
        return self.try_loading(model, version).problem

    def try_loading(self, model: str, version: Version) -> LoadResult:
        """Load a version, ask it some rows, and let it go.

        Raises:
            ArtifactTampered: Its bytes are not those of its digest.
            RegistryUnavailable: It is not on this host, and MLflow does not answer.
            Unavailable: An environment of its own is still being built.
        """
        path, environments = self._cache.verified(version, model), self._environments(model)
        what = f"version {version.number} of {model}"
        try:
            process = ModelProcess(self._start(path, version, environments))
        except (Rejected, ProcessDied) as error:
            said = f"{error} while the model was loaded" if isinstance(error, ProcessDied) else str(error)
            return LoadResult(_line(f"{what} cannot be served here: {said}"))
        process.close()
        missing = _missing(path) if environments is None else ()
        independence = process.independence
        if independence.answered:
            return LoadResult("", independence, missing)
        if missing:
            named = ", ".join(missing)
            return LoadResult(f"{what} cannot be served here: it needs {named}, which is not installed", independence)
        if independence.problem.startswith(("ModuleNotFoundError", "ImportError")):
            return LoadResult(
                _line(f"{what} cannot be served here: it cannot answer: {independence.problem}"), independence
            )
        return LoadResult("", independence)

    def _start(self, path: Path, version: Version, environments: VersionEnvironments | None) -> StartProcess:
        arguments = [str(path), version.digest, str(self._memory_mb), "0"]
        if environments is not None:
            return spawn_process(environments.host_command(path, arguments))
        slowly = spawn_process([sys.executable, "-m", "surefoot.adapters.mlflow.model_host", *arguments])
        return fork_process(_forkservers[-1], arguments, slowly)


@contextmanager
def fresh_forkserver() -> Iterator[None]:
    """Have versions forked, until the end of the block, by a forkserver that starts with the environment of now.

    A forkserver that runs already hands on the environment variables that were set when it was started.
    """
    program = ForkserverProgram(_PROGRAM, OMP_NUM_THREADS="1")
    _forkservers.append(program)
    try:
        yield
    finally:
        _forkservers.remove(program)
        program.close()


def use_forkserver(forkserver: ProcessForker) -> None:
    """Have versions forked by a forkserver that this process has already, in place of one that it starts."""
    _forkservers.append(forkserver)


def _line(text: str) -> str:
    """A text of any length in one line of bounded length."""
    return " ".join(text.split())[:500]


def _missing(path: Path) -> tuple[str, ...]:
    """Packages that the model's requirements name and that are not installed; what cannot be read is left out."""
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415 - it comes with MLflow

    try:
        lines = (path / "requirements.txt").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ()
    found = []
    for line in lines:
        if not _NAME.match(line.strip()):
            continue
        try:
            wanted = Requirement(line.partition("#")[0].strip())
            if wanted.marker is None or wanted.marker.evaluate():
                metadata.version(wanted.name)
        except InvalidRequirement:
            continue
        except metadata.PackageNotFoundError:
            found.append(str(wanted))
    return tuple(found)
