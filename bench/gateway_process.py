"""A gateway for the benches: STATE MODELS PORT WORKERS; version N is the directory N, in processes of its own."""

import sys
import time
import warnings
from functools import partial
from pathlib import Path

from surefoot import hosting
from surefoot.adapters.pyfunc import preload
from surefoot.core.errors import Rejected
from surefoot.core.model import Version
from surefoot.gateway.app import Gateway, build_app
from surefoot.gateway.keeper import Keeper
from surefoot.gateway.settings import GatewaySettings
from surefoot.gateway.tripwire import Limits
from surefoot.models.contract import NICE
from surefoot.models.nursery import Nursery
from surefoot.models.process import ModelProcess, forked, spawned


class HostClock:
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
    preload()

    def make(nursery: Nursery) -> Gateway:
        def hosted(nice: int, _model: str, version: Version) -> ModelProcess:
            arguments = [str(Path(models) / version.number), version.digest, "4000", str(nice)]
            slowly = spawned([sys.executable, "-m", "surefoot.hosting", *arguments])
            failed = lambda kind, message: Rejected(f"{kind}: {message}")  # noqa: E731 - two words
            return ModelProcess(forked(nursery, arguments, slowly), failed)

        # Whoever kills processes here means no harm to the candidate: it is not cut for it.
        settings = GatewaySettings(Path(state), "bench", units={"m": None, "u": "unit"}, trip=Limits(deaths=1000))
        return build_app(settings, HostClock(), partial(hosted, 0), partial(hosted, NICE))

    Keeper(Path(state), ("127.0.0.1", int(port)), int(workers), make, hosting.run).keep()


if __name__ == "__main__":
    main()
