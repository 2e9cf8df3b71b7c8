"""A gateway in a process of its own, for tests that kill it: ROOT MODELS PORT."""

import sys
import threading
from pathlib import Path

from surefoot.adapters.clock import SystemClock
from surefoot.adapters.mlflow.artifacts import directory_digest, load_model_directory
from surefoot.adapters.mlflow.pyfunc.pyfunc_scorer import PyfuncScorer
from surefoot.core.domain import Version
from surefoot.core.errors import ArtifactTampered
from surefoot.gateway.http.app import build_app
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.gateway.supervision.server import DrainingServer
from surefoot.models.model_protocols import Predictor

TOKEN = "test-token"  # noqa: S105 - of the gateways that tests start


class Models:
    """Loads version N of any model from the directory N, when its bytes are of the version's digest.

    Attributes:
        root: Where the directories are.
        loads: Numbers that were asked for, in order.
    """

    def __init__(self, root: Path) -> None:
        """Load from below root."""
        self.root = root
        self.loads: list[str] = []
        self._held: dict[str, threading.Event] = {}

    def __call__(self, model: str, version: Version) -> PyfuncScorer | Predictor:
        """Verify, then load."""
        self.loads.append(version.number)
        if version.number in self._held:
            self._held.pop(version.number).wait(60)
        path = self.root / version.number
        if directory_digest(path) != version.digest:
            raise ArtifactTampered(f"{model} version {version.number} is not of its digest")
        return load_model_directory(path)

    def hold(self, number: str) -> threading.Event:
        """Let the next load of a number wait until this event is set."""
        return self._held.setdefault(number, threading.Event())

    def version(self, number: str) -> Version:
        """Version of that number with its true digest."""
        return Version(number, directory_digest(self.root / number), f"sha256:data-{number}")


if __name__ == "__main__":
    root, models, port = sys.argv[1:]
    settings = GatewaySettings(root=Path(root), token=TOKEN, units={"flights": "unit"})
    DrainingServer(build_app(settings, SystemClock(), Models(Path(models))), "127.0.0.1", int(port)).run()
