"""ServerStarter our gateway with a given number of workers, logging every answer as in production."""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.serving.model_server import Server, ServerStarter, free_port, running_process
from surefoot.adapters.mlflow.artifacts import directory_digest
from surefoot.adapters.traffic.gateway import GatewayTraffic
from surefoot.core.domain import Split, Version

TOKEN = "bench"  # noqa: S105 - of a gateway that lives for a minute


def gateway_starter(workers: int) -> ServerStarter:
    """With so many front workers; one model has all the traffic."""

    @contextlib.contextmanager
    def start(root: Path, name: str, folder: Path) -> Iterator[Server]:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        state = folder / f"state-{name}-{workers}"
        command = [sys.executable, "-m", "bench.gateway_process", str(state), str(root), str(port), str(workers)]
        log = folder / f"ours-{name}-{workers}.log"
        with running_process(command, {"OMP_NUM_THREADS": "1"}, f"{url}/version", log) as found:
            version = Version(name, directory_digest(root / name))
            GatewayTraffic(url, TOKEN).shift("m", Split(version, None, 0.0, "salt", "", 1))
            time.sleep(2.0)
            yield Server(f"{url}/models/m/invocations", found)

    return start
