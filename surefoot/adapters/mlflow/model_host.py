"""Run a process that hosts one MLflow model for the gateway or a replay.

Usage: `python -m surefoot.adapters.mlflow.model_host PATH DIGEST MEMORY_MB NICE FD`
"""

import ctypes
import os
import signal
import socket
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from surefoot.adapters.mlflow.artifacts import directory_digest, load_model_directory
from surefoot.core.errors import ArtifactTampered
from surefoot.models.model_protocols import Model
from surefoot.models.model_server import limit_memory_and_priority, serve_model

_PR_SET_PDEATHSIG = 1


def _load_verified_model(path: Path, digest: str) -> Model:
    """Load a model directory whose bytes are those of its digest, and ask it once so that nothing is slow later.

    Raises:
        ArtifactTampered: They are not.
        Rejected: The files are not a model that this environment can load.
    """
    if directory_digest(path) != digest:
        raise ArtifactTampered(f"{path.name[:12]} is not of the digest {digest[:19]}")
    scorer = load_model_directory(path)
    scorer.warm()
    return scorer


def run_model_host(arguments: Sequence[str]) -> None:
    """Load one model version and answer requests until the parent process closes the connection.

    Args:
        arguments: PATH, DIGEST, MEMORY_MB, NICE and FD.
    """
    path, digest, memory_mb, nice, descriptor = arguments
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # however the gateway ends, this process ends too
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.simplefilter("ignore")
    limit_memory_and_priority(int(memory_mb), int(nice))
    with socket.socket(fileno=int(descriptor)) as end:
        serve_model(end, lambda: _load_verified_model(Path(path), digest))


if __name__ == "__main__":
    run_model_host(sys.argv[1:])
