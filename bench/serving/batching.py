"""`python -m bench.serving.batching MODEL PORT`: a bare app that batches as our gateway does.

It reads the same bodies with the same code and asks the same kind of process through the same queue, but it has no
route, no split, no ids, no headers and no log. What the gateway takes more than this is routing and logging.
"""

import contextlib
import gc
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from bench.serving.running import Server, free_port, process
from surefoot.adapters.artifacts import tree_digest
from surefoot.core.errors import Rejected
from surefoot.core.model import Arm, Split, Version
from surefoot.gateway import decode, wire
from surefoot.gateway.batch import Worker
from surefoot.gateway.job import Answered, Job
from surefoot.gateway.record import PredictionLog, Segment
from surefoot.models.process import ModelProcess, spawned


@contextlib.contextmanager
def batching(root: Path, name: str, folder: Path) -> Iterator[Server]:
    """That app."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    command = [sys.executable, "-m", "bench.serving.batching", str(root / name), str(port)]
    with process(command, {"OMP_NUM_THREADS": "1"}, url, folder / f"batching-{name}.log") as found:
        yield Server(url, found)


class Batching:
    """The ASGI application."""

    def __init__(self, version: Version, predictor: ModelProcess) -> None:
        """Ask this process."""
        self._version, self._predictor = version, predictor
        self._split = Split(version, None, 0.0, "salt", "", 1)
        self._worker: Worker | None = None

    async def __call__(self, scope: wire.Scope, receive: wire.Receive, send: wire.Send) -> None:
        """Speak ASGI."""
        if scope["type"] != "http":
            return
        if self._worker is None:
            silent = PredictionLog(Segment(Path("never-written")))
            self._worker = Worker(
                self._version, self._predictor, silent, lambda _version: True, 256, lambda _attempt, _outcome, _all: []
            )
        body = await wire.read_body(scope, receive, 8 << 20)
        if not body:
            await wire.Reply(b"").send(send)
            return
        table = decode.table_of(body, wire.header(scope, b"content-type"))
        now = time.perf_counter()
        job = Job(
            "m", "", table.names, table.values, None, 0.0, now, self._split, Arm.CHAMPION, self._version,
            manner=table.manner,
        )  # fmt: skip
        outcome = await self._worker.submit(job, last=True).settled
        if isinstance(outcome, Answered):
            await wire.Reply(b'{"predictions":' + outcome.predictions + b"}").send(send)
        else:
            await wire.Reply(b"", 500).send(send)


def main() -> None:
    """Serve until a signal."""
    path, port = sys.argv[1:]
    warnings.simplefilter("ignore")
    version = Version(Path(path).name, tree_digest(Path(path)))
    start = spawned([sys.executable, "-m", "surefoot.hosting", path, version.digest, "4000", "0"])
    app = Batching(version, ModelProcess(start, lambda kind, message: Rejected(f"{kind}: {message}")))
    gc.collect()
    gc.freeze()  # as the gateway's keeper does
    uvicorn.run(
        app, port=int(port), loop="uvloop", http="httptools", access_log=False, log_level="warning", lifespan="off",
        timeout_keep_alive=75, proxy_headers=False, server_header=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
