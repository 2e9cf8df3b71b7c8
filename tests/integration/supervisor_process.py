"""A gateway of several front workers, for tests that end its processes: ROOT MODELS PORT WORKERS.

Version N is the directory N. With a file `hosted` in ROOT models have processes of their own. With a file `broken` no
worker can be built; every attempt to build one leaves a line in `attempts`. While there is a file `narrow` only one
more worker is built, the others wait. While there is a file `hold-N` version N is not loaded. With a file `hasty` the
supervisor waits seconds for what it waits long for. With a file `rare` idle workers check for changes once an hour,
with a file `stuck` workers hang when they are to leave.
"""

import sys
import time
import warnings
from pathlib import Path

from surefoot.adapters.clock import SystemClock
from surefoot.adapters.mlflow import model_host
from surefoot.adapters.mlflow.pyfunc.pyfunc_scorer import import_libraries_early
from surefoot.core.domain import Version
from surefoot.core.errors import Rejected
from surefoot.gateway.control import worker_runtime
from surefoot.gateway.http.app import Gateway, build_app
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.gateway.supervision import supervisor as supervisor_module
from surefoot.gateway.supervision.supervisor import Supervisor
from surefoot.models.forking.forkserver import Forkserver
from surefoot.models.model_process import ModelProcess, fork_process, spawn_process
from surefoot.models.model_protocols import LoadModel, Model, Predictor
from tests.integration.gateway_process import TOKEN, Models


def main() -> None:
    """Keep workers until a signal."""
    root, models, port, workers = (
        kind(value) for kind, value in zip((Path, Path, int, int), sys.argv[1:], strict=True)
    )
    warnings.simplefilter("ignore")
    import_libraries_early()
    if (root / "hasty").exists():
        supervisor_module.WORKER_STOP_TIMEOUT_S, supervisor_module._HANDOVER_S = 6.0, 2.0
        supervisor_module._READY_TIMEOUT_S = 6.0
    if (root / "rare").exists():
        worker_runtime._IDLE_INTERVAL_S = 3600.0

    if (root / "stuck").exists():

        async def hang_for_an_hour(self: worker_runtime.WorkerRuntime) -> None:
            time.sleep(3600.0)  # noqa: ASYNC251 - it is to block the event loop

        worker_runtime.WorkerRuntime.stop = hang_for_an_hour  # type: ignore[method-assign]

    def hosted(forkserver: Forkserver) -> LoadModel:
        def load(_model: str, version: Version) -> ModelProcess:
            arguments = [str(models / version.number), version.digest, "0", "0"]
            slowly = spawn_process([sys.executable, "-m", "surefoot.adapters.mlflow.model_host", *arguments])
            return ModelProcess(fork_process(forkserver, arguments, slowly))

        return load

    def held(load: LoadModel) -> LoadModel:
        def wait(model: str, version: Version) -> Model | Predictor:
            while (root / f"hold-{version.number}").exists():
                time.sleep(0.02)
            return load(model, version)

        return wait

    def make(forkserver: Forkserver) -> Gateway:
        with (root / "attempts").open("a") as attempts:
            attempts.write(f"{time.monotonic()}\n")
        if (root / "broken").exists():
            raise RuntimeError("it was to be broken")
        if (root / "narrow").exists() and not first(root / "through"):
            while (root / "narrow").exists():
                time.sleep(0.02)
        load = held(hosted(forkserver) if (root / "hosted").exists() else Models(models))
        # No request is to be late, however busy the host.
        return build_app(
            GatewaySettings(root, TOKEN, candidate_timeout_s=60.0, units={"flights": "unit"}), SystemClock(), load
        )

    try:
        Supervisor(root, ("127.0.0.1", port), workers, make, model_host.run_model_host).run()
    except Rejected as error:
        sys.exit(str(error))


def first(mark: Path) -> bool:
    """Whether no process was here before."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


if __name__ == "__main__":
    main()
