"""ServerStarter `mlflow models serve` with a given number of workers."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.serving.model_server import Server, ServerStarter, free_port, running_process


def mlflow(workers: int) -> ServerStarter:
    """With so many workers."""

    @contextlib.contextmanager
    def start(root: Path, name: str, folder: Path) -> Iterator[Server]:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        command = [
            str(Path(sys.executable).with_name("mlflow")), "models", "serve", "-m", str(root / name), "-p", str(port),
            "--env-manager", "local", "-w", str(workers),
        ]  # fmt: skip
        environment = {"OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        with running_process(command, environment, f"{url}/ping", folder / f"mlflow-{name}-{workers}.log") as found:
            yield Server(f"{url}/invocations", found)

    return start
