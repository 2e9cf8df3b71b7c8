"""A gateway of several front workers, for tests that end its processes: ROOT MODELS PORT WORKERS.

Version N is the directory N. With a file `hosted` in ROOT models have processes of their own. With a file `broken` no
worker can be built; every attempt to build one leaves a line in `attempts`. While there is a file `narrow` only one
more worker is built, the others wait. With a file `hasty` the keeper waits seconds for what it waits long for.
"""

import sys
import time
import warnings
from pathlib import Path

from surefoot import hosting
from surefoot.adapters.pyfunc import preload
from surefoot.core.errors import Rejected
from surefoot.core.model import Version
from surefoot.gateway import keeper as keeper_module
from surefoot.gateway.app import Gateway, build_app
from surefoot.gateway.keeper import Keeper
from surefoot.gateway.settings import GatewaySettings
from surefoot.models.contract import Load
from surefoot.models.nursery import Nursery
from surefoot.models.process import ModelProcess, forked, spawned
from tests.integration.gateway_process import TOKEN, HostClock, Models


def main() -> None:
    """Keep workers until a signal."""
    root, models, port, workers = (
        kind(value) for kind, value in zip((Path, Path, int, int), sys.argv[1:], strict=True)
    )
    warnings.simplefilter("ignore")
    preload()
    if (root / "hasty").exists():
        keeper_module.STOP_S, keeper_module._HANDOVER_S = 6.0, 2.0

    def hosted(nursery: Nursery) -> Load:
        def load(_model: str, version: Version) -> ModelProcess:
            arguments = [str(models / version.number), version.digest, "0", "0"]
            slowly = spawned([sys.executable, "-m", "surefoot.hosting", *arguments])
            return ModelProcess(forked(nursery, arguments, slowly), refused)

        return load

    def make(nursery: Nursery) -> Gateway:
        with (root / "attempts").open("a") as attempts:
            attempts.write(f"{time.monotonic()}\n")
        if (root / "broken").exists():
            raise RuntimeError("it was to be broken")
        if (root / "narrow").exists() and not first(root / "through"):
            while (root / "narrow").exists():
                time.sleep(0.02)
        load = hosted(nursery) if (root / "hosted").exists() else Models(models)
        # Nobody is to be late, however busy the host.
        return build_app(
            GatewaySettings(root, TOKEN, candidate_timeout_s=60.0, units={"flights": "unit"}), HostClock(), load
        )

    try:
        Keeper(root, ("127.0.0.1", port), workers, make, hosting.run).keep()
    except Rejected as error:
        sys.exit(str(error))


def first(mark: Path) -> bool:
    """Whether nobody was here before."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def refused(kind: str, message: str) -> Exception:
    """The error that a process has named."""
    return Rejected(f"{kind}: {message}")


if __name__ == "__main__":
    main()
