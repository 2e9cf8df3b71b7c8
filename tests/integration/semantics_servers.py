"""Both sides of `test_mlflow_semantics`: MLflow's scoring servers, and gateways with a process for each model.

As a program it serves models with MLflow's own application, all in one process: MODELS PORTS NAME...
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from surefoot.core.domain import Version

START_S = 180.0
"""Longest that the servers may take to start [s]."""


@contextlib.contextmanager
def both(root: Path, models: Path, names: Sequence[str]) -> Iterator[dict[str, tuple[str, str]]]:
    """Our and MLflow's base URL of each model.

    The first one is served by `mlflow models serve`; the others by its application, see `main`.
    """
    from tests.conftest import free_port  # noqa: PLC0415 - not where this is a program

    first, *others = names
    port, ports = free_port(), root / "ports.json"
    served = [
        "models",
        "serve",
        "-m",
        models / first,
        "--env-manager",
        "local",
        "-w",
        "1",
        "-h",
        "127.0.0.1",
        "-p",
        port,
    ]
    mlflow = [Path(sys.executable).with_name("mlflow"), *served]
    itself = [sys.executable, __file__, models, ports, *others]
    # They load while the gateways do.
    with (
        _program(mlflow, root / "mlflow.log") as heard,
        _program(itself, root / "others.log") as others_heard,
        _gateways(root, models, names) as ours,
    ):
        theirs = {first: f"http://127.0.0.1:{port}"}
        heard(lambda: _healthy(theirs[first]))
        others_heard(ports.exists)
        theirs |= {name: f"http://127.0.0.1:{found}" for name, found in json.loads(ports.read_text()).items()}
        yield {name: (ours[name], theirs[name]) for name in names}


@contextlib.contextmanager
def _program(command: Sequence[object], log: Path) -> Iterator[Callable[[Callable[[], bool]], None]]:
    """A program and its children, which are ended; gives what waits until something is so."""
    # The program finds uvicorn on PATH; where it runs there is nothing that could be imported by accident.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with log.open("wb") as out:
        started = subprocess.Popen(
            list(map(str, command)), cwd=log.parent, env=environment, stdout=out, stderr=out, start_new_session=True
        )

        def wait_until(ready: Callable[[], bool]) -> None:
            deadline = time.monotonic() + START_S
            while not ready():
                assert started.poll() is None, log.read_text(encoding="utf-8")[-4000:]
                assert time.monotonic() < deadline, f"not ready: {log.read_text(encoding='utf-8')[-4000:]}"
                time.sleep(0.1)

        try:
            yield wait_until
        finally:
            # The whole group: uvicorn is a child of a child.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
            started.wait()


def _healthy(url: str) -> bool:
    from tests import local_http  # noqa: PLC0415 - not where this is a program

    try:
        return local_http.get(f"{url}/ping", timeout=5.0).status_code == 200
    except httpx.HTTPError:
        return False


@contextlib.contextmanager
def _gateways(root: Path, models: Path, names: Sequence[str]) -> Iterator[Mapping[str, str]]:
    """A gateway for each model, since a gateway with one model answers at `/invocations` as MLflow does."""
    from surefoot.adapters.mlflow.artifacts import directory_digest  # noqa: PLC0415 - MLflow is late
    from surefoot.core.domain import Split, Version  # noqa: PLC0415 - same
    from tests.integration.gateway_harness import listening  # noqa: PLC0415 - same
    from tests.integration.model_forkserver import ForkedModels, running_forkserver  # noqa: PLC0415 - same

    class Named(ForkedModels):
        def folder(self, model: str, version: "Version") -> Path:
            return self.root / model

    def start(name: str) -> str:
        gateway = stacks[name].enter_context(listening(root / name, hosted, units={}))
        version = Version("1", directory_digest(models / name))
        gateway.traffic.shift(name, Split(version, None, 0.0, "salt", "", 1))
        return gateway.url

    # Each waits for its process, when it starts and when it ends; so they do it side by side.
    stacks = {name: contextlib.ExitStack() for name in names}
    with running_forkserver() as forkserver:
        hosted = Named(models, forkserver)
        try:
            with ThreadPoolExecutor(len(names)) as pool:
                urls = list(pool.map(start, names))
            yield dict(zip(names, urls, strict=True))
        finally:
            with ThreadPoolExecutor(len(names)) as pool:
                list(pool.map(contextlib.ExitStack.close, stacks.values()))


def main() -> None:
    """Serve each model on a port of its own; a process each would take seconds and half a gigabyte more.

    The application is made as in `mlflow/pyfunc/scoring_server/app.py`, which is what `mlflow models serve` runs.
    """
    warnings.simplefilter("ignore")
    import uvicorn  # noqa: PLC0415 - only where this is a program
    from mlflow.pyfunc import scoring_server  # noqa: PLC0415 - same

    models, ports, *names = sys.argv[1:]
    found = {}
    for name in names:
        app = scoring_server.init(scoring_server.load_model_with_mlflow_config(str(Path(models, name))))
        end = socket.create_server(("127.0.0.1", 0))
        found[name] = end.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        threading.Thread(target=server.run, args=([end],), daemon=True).start()
    arriving = Path(ports).with_suffix(".part")
    arriving.write_text(json.dumps(found), encoding="utf-8")
    arriving.rename(ports)  # whole, or not there yet
    threading.Event().wait()


if __name__ == "__main__":
    main()
