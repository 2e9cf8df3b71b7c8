"""A gateway for the benches: STATE MODELS PORT; version N is the directory N, in processes of its own."""

import sys
import time
from pathlib import Path

from surefoot.core.errors import Rejected
from surefoot.core.model import Version
from surefoot.gateway.app import build_app
from surefoot.gateway.process import ModelProcess
from surefoot.gateway.server import serve
from surefoot.gateway.settings import GatewaySettings


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
    state, models, port = sys.argv[1:]

    def hosted(_model: str, version: Version) -> ModelProcess:
        path = Path(models) / version.number
        command = [sys.executable, "-m", "surefoot.hosting", str(path), version.digest, "0", "0"]
        return ModelProcess(command, lambda kind, message: Rejected(f"{kind}: {message}"))

    settings = GatewaySettings(Path(state), "bench", units={"m": None})
    serve(build_app(settings, HostClock(), hosted), "127.0.0.1", int(port))


if __name__ == "__main__":
    main()
