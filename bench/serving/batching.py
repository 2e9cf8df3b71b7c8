"""`python -m bench.serving.batching MODEL PORT`: serves a bare app that batches as our gateway does.

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

from bench.serving.model_server import Server, free_port, running_process
from surefoot.adapters.mlflow.artifacts import directory_digest
from surefoot.core.domain import Arm, Split, Version
from surefoot.gateway.http import asgi, scoring_body
from surefoot.gateway.inference.attempts.attempt import Answered
from surefoot.gateway.inference.version_pool import VersionPool
from surefoot.gateway.log.prediction_log_writer import PredictionLogWriter, SegmentWriter
from surefoot.gateway.log.scoring_request import ScoringRequest
from surefoot.models.model_process import ModelProcess, spawn_process


@contextlib.contextmanager
def running_batching_app(root: Path, name: str, folder: Path) -> Iterator[Server]:
    """That app."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    command = [sys.executable, "-m", "bench.serving.batching", str(root / name), str(port)]
    with running_process(command, {"OMP_NUM_THREADS": "1"}, url, folder / f"batching-{name}.log") as found:
        yield Server(url, found)


def _no_records(_attempt: object, _outcome: object, _answers: list[object]) -> list[bytes]:
    return []


class _BatchingApp:
    """The ASGI application."""

    def __init__(self, version: Version, predictor: ModelProcess) -> None:
        """Ask this process."""
        self._version, self._predictor = version, predictor
        self._split = Split(version, None, 0.0, "salt", "", 1)
        self._worker: VersionPool | None = None

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Speak ASGI."""
        if scope["type"] != "http":
            return
        if self._worker is None:
            silent = PredictionLogWriter(SegmentWriter(Path("never-written")))
            self._worker = VersionPool(self._version, self._predictor, silent, None, 256, records=_no_records)
        body = await asgi.read_body(scope, receive, 8 << 20)
        if not body:
            await asgi.Response(b"").send(send)
            return
        table = scoring_body.decode_table(body, asgi.get_header(scope, b"content-type"))
        now = time.perf_counter()
        job = ScoringRequest(
            "m", "", table.names, table.values, None, 0.0, now, self._split, Arm.CHAMPION, self._version,
            options=table.options,
        )  # fmt: skip
        outcome = await self._worker.submit(job, last=True).settled
        if isinstance(outcome, Answered):
            await asgi.Response(b'{"predictions":' + outcome.predictions + b"}").send(send)
        else:
            await asgi.Response(b"", 500).send(send)


def main() -> None:
    """Serve until a signal."""
    path, port = sys.argv[1:]
    warnings.simplefilter("ignore")
    version = Version(Path(path).name, directory_digest(Path(path)))
    start = spawn_process(
        [sys.executable, "-m", "surefoot.adapters.mlflow.model_host", path, version.digest, "4000", "0"]
    )
    app = _BatchingApp(version, ModelProcess(start))
    gc.collect()
    gc.freeze()  # as the gateway's supervisor does
    uvicorn.run(
        app, port=int(port), loop="uvloop", http="httptools", access_log=False, log_level="warning", lifespan="off",
        timeout_keep_alive=75, proxy_headers=False, server_header=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
