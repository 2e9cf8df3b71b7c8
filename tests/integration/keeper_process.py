"""A gateway with several front workers, for tests that kill its processes: ROOT MODELS PORT WORKERS."""

import sys
import warnings
from pathlib import Path

from surefoot import hosting
from surefoot.adapters.pyfunc import preload
from surefoot.core.errors import Rejected
from surefoot.core.model import Version
from surefoot.gateway.app import Gateway, build_app
from surefoot.gateway.keeper import Keeper
from surefoot.gateway.nursery import Nursery
from surefoot.gateway.process import ModelProcess, forked, spawned
from surefoot.gateway.settings import GatewaySettings
from tests.integration.gateway_process import TOKEN, HostClock


def main() -> None:
    """Keep the workers until a signal."""
    root, models, port, workers = sys.argv[1:]
    warnings.simplefilter("ignore")
    preload()

    def failed(kind: str, message: str) -> Exception:
        return Rejected(f"{kind}: {message}")

    def make(nursery: Nursery) -> Gateway:
        def hosted(_model: str, version: Version) -> ModelProcess:
            arguments = [str(Path(models) / version.number), version.digest, "0", "0"]
            slowly = spawned([sys.executable, "-m", "surefoot.hosting", *arguments])
            return ModelProcess(forked(nursery, arguments, slowly), failed)

        return build_app(GatewaySettings(Path(root), TOKEN, units={"flights": "unit"}), HostClock(), hosted)

    Keeper(Path(root), ("127.0.0.1", int(port)), int(workers), make, hosting.run).keep()


if __name__ == "__main__":
    main()
