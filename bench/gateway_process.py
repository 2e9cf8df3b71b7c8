"""`python -m bench.gateway_process STATE MODELS PORT WORKERS`: runs a gateway; folder N of MODELS holds version N."""

import sys
import time
import warnings
from functools import partial
from pathlib import Path

from surefoot.adapters.mlflow import model_host
from surefoot.adapters.mlflow.pyfunc.pyfunc_scorer import import_libraries_early
from surefoot.core.domain import Version
from surefoot.gateway.http.app import Gateway, build_app
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.gateway.inference.tripwire import TripLimits
from surefoot.gateway.supervision.supervisor import Supervisor
from surefoot.models.forking.forkserver import Forkserver
from surefoot.models.model_process import ModelProcess, fork_process, spawn_process
from surefoot.models.process_priority import SHADOW_NICENESS


class _HostClock:
    """The host's time."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never step."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def main() -> None:
    """Serve until a signal."""
    state, models, port, workers = sys.argv[1:]
    warnings.simplefilter("ignore")
    import_libraries_early()

    def make(forkserver: Forkserver) -> Gateway:
        def hosted(nice: int, _model: str, version: Version) -> ModelProcess:
            arguments = [str(Path(models) / version.number), version.digest, "4000", str(nice)]
            slowly = spawn_process([sys.executable, "-m", "surefoot.adapters.mlflow.model_host", *arguments])
            return ModelProcess(fork_process(forkserver, arguments, slowly))

        # The bench kills processes: the candidate is not cut for it.
        settings = GatewaySettings(Path(state), "bench", units={"m": None, "u": "unit"}, trip=TripLimits(deaths=1000))
        return build_app(settings, _HostClock(), partial(hosted, 0), partial(hosted, SHADOW_NICENESS))

    Supervisor(Path(state), ("127.0.0.1", int(port)), int(workers), make, model_host.run_model_host).run()


if __name__ == "__main__":
    main()
