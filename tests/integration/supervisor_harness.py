"""A supervisor with its workers, and callers that ask it, for the tests that end its processes."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from surefoot.adapters.traffic.gateway import GatewayTraffic
from surefoot.core.domain import Split
from surefoot.gateway.control.shared_routes import SharedRouteTable
from tests.conftest import free_port
from tests.integration.gateway_harness import BETTER, GOOD
from tests.integration.gateway_process import TOKEN, Models
from tests.integration.waiting import ended, wait_for

PATH = "/models/flights/invocations"


class SupervisedGateway:
    """A gateway with a supervisor and front workers; it remembers every process that it has seen."""

    def __init__(
        self, root: Path, models: Models, workers: int = 2, *, hosted: bool = False, hasty: bool = False
    ) -> None:
        self.root, self.models, self.count = root, models, workers
        self.port = free_port()
        self.traffic = GatewayTraffic(f"http://127.0.0.1:{self.port}", TOKEN)
        self.supervisors: list[subprocess.Popen[bytes]] = []
        self.known: set[psutil.Process] = set()
        self.route_table = SharedRouteTable(root)
        self.generation = 0
        if hosted:
            (root / "hosted").touch()
        if hasty:
            (root / "hasty").touch()

    @property
    def supervisor(self) -> int:
        """Process id of the newest supervisor."""
        return self.supervisors[-1].pid

    def launch(self) -> None:
        """Start a supervisor."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with (self.root / "supervisor.log").open("ab") as log:
            self.supervisors.append(subprocess.Popen(self._command(self.port), env=environment, stdout=log, stderr=log))

    def _command(self, port: int) -> list[str]:
        module = [sys.executable, "-m", "tests.integration.supervisor_process"]
        return [*module, str(self.root), str(self.models.root), str(port), str(self.count)]

    def refused(self, port: int) -> str:
        """Start a supervisor at a port that is to end by itself; the one line that it says."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(self._command(port), env=environment, capture_output=True, timeout=60, check=False)
        assert done.returncode not in (0, None)
        (line,) = done.stderr.decode().strip().splitlines()
        return line

    def die(self) -> None:
        """Kill the supervisor, which its workers outlive."""
        self.workers()  # remembers them
        self.supervisors[-1].kill()
        self.supervisors[-1].wait()

    def living(self) -> set[int]:
        """Workers of any supervisor that have a slot."""
        return {self.route_table.worker_pid(slot) for slot in self.route_table.live_workers()}

    def begin(self, workers: int = 0) -> set[int]:
        """Start a supervisor, and wait until it has its own workers; these."""
        self.launch()
        return self.settled(workers or self.count)

    def settled(self, workers: int, without: frozenset[int] = frozenset()) -> set[int]:
        """Wait until so many workers of the newest supervisor, and no others, are up to date; these."""

        def so() -> bool:
            mine = self.workers()
            ready = {self.route_table.worker_pid(slot) for slot in self.route_table.ready_workers()}
            return len(mine) == workers and mine == ready == self.living() and not mine & without

        wait_for(so)
        return self.workers()

    def workers(self) -> set[int]:
        """Workers of the newest supervisor."""
        found = set()
        for process in psutil.Process(self.supervisor).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                self.known.add(process)
                if process.ppid() == self.supervisor and process.status() != psutil.STATUS_ZOMBIE:
                    found.add(process.pid)
        return found

    def signal(self, number: signal.Signals) -> None:
        """Tell the supervisor something."""
        os.kill(self.supervisor, number)

    def split(self, weight: float) -> Split:
        """Put a split of the good model and the better one in force, of the next generation."""
        self.generation += 1
        made = Split(
            self.models.version(GOOD), self.models.version(BETTER), weight, "salt", "rollout-7", self.generation
        )
        self.traffic.shift("flights", made)
        return made

    def records(self) -> list[tuple[int, dict[str, object]]]:
        """Every record of the log, with the process that wrote it."""
        return [
            (int(segment.name.split("-")[1]), json.loads(line))
            for segment in (self.root / "log" / "flights").glob("predictions-*.jsonl")
            for line in segment.read_text().splitlines()
        ]

    def end(self) -> None:
        """Let the supervisor end its workers."""
        with contextlib.suppress(psutil.Error):
            self.workers()
        for supervisor in self.supervisors:
            supervisor.terminate()
        for supervisor in self.supervisors:
            supervisor.wait(60)

    def clear(self) -> None:
        """Leave no process, whatever has happened."""
        for supervisor in self.supervisors:
            supervisor.kill()  # nothing happens where it has been waited for
        for process in self.known:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()  # nor where its number belongs to another process by now
        for supervisor in self.supervisors:
            supervisor.wait()


@contextlib.contextmanager
def supervised_gateway(
    root: Path, models: Models, workers: int = 2, *, hosted: bool = False, hasty: bool = False, weight: float = 50.0
) -> Iterator[SupervisedGateway]:
    """A supervised gateway with a route; nothing of it is left afterwards."""
    made = SupervisedGateway(root, models, workers, hosted=hosted, hasty=hasty)
    try:
        made.begin()
        made.split(weight)
        yield made
        made.end()
        wait_for(lambda: all(map(ended, made.known)))
    finally:
        made.clear()


@dataclass(frozen=True)
class Seen:
    """One answer: who asked, the generation that was acknowledged before, and what came back."""

    request: str
    unit: str
    acknowledged: int
    status: int
    version: str
    generation: int


class Callers:
    """Callers that ask without a pause; each keeps its connection until it is told to close it."""

    def __init__(self, port: int, count: int = 4, *, units: int = 200, fresh: int = 0) -> None:
        """Know whom to ask.

        Args:
            port: Of the gateway.
            count: Callers [count].
            units: Units of each caller [count]; no two callers share one.
            fresh: After so many requests a caller opens another connection; 0 for never.
        """
        self._port, self._count, self._units, self._fresh = port, count, units, fresh
        self._stop = threading.Event()
        self._name = os.urandom(4).hex()
        self._threads: list[threading.Thread] = []
        self.acknowledged = 0
        self.seen: list[Seen] = []
        self.lost: list[str] = []

    def __enter__(self) -> Self:
        """Begin."""
        self._threads = [threading.Thread(target=self._call, args=(name,)) for name in range(self._count)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Finish the requests that are under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def go_on(self, more: int = 100) -> None:
        """Wait until so many more have been answered."""
        until = len(self.seen) + more
        wait_for(lambda: len(self.seen) >= until or not any(thread.is_alive() for thread in self._threads))
        assert len(self.seen) >= until, "the callers have ended"

    def _call(self, name: int) -> None:
        number = 0
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)) as connection:
            while not self._stop.is_set():
                number += 1
                unit, request = f"{name}-{number % self._units}", f"{self._name}:{name}:{number}"
                acknowledged = self.acknowledged
                body = json.dumps({"dataframe_records": [{"unit": unit, "x": 1.0, "y": 2.0}]})
                try:
                    connection.request("POST", PATH, body, {"x-request-id": request})
                    answer = connection.getresponse()
                    answer.read()
                except (OSError, http.client.HTTPException) as error:
                    self.lost.append(f"{request}: {error!r}")
                    connection.close()
                    continue
                version, generation = answer.headers["x-model-version"], answer.headers["x-model-generation"] or -1
                self.seen.append(Seen(request, unit, acknowledged, answer.status, version, int(generation)))
                if self._fresh and number % self._fresh == 0:
                    connection.close()
