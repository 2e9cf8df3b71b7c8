"""Several front workers on one socket: one route for all, and no request lost but what a killed worker had."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from surefoot.adapters.traffic.gateway import GatewayTraffic
from tests.conftest import free_port
from tests.integration.gateway_harness import BETTER, GOOD, Gateway, wait_for
from tests.integration.gateway_process import TOKEN, Models

CALLERS = 4


@dataclass
class Kept:
    """A gateway with a keeper.

    Attributes:
        keepers: Every keeper so far, the newest last.
    """

    gateway: Gateway
    command: list[str]
    keepers: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def begin(self) -> None:
        """Start a keeper, and wait until its own workers answer."""
        self.keepers.append(subprocess.Popen(self.command, env={**os.environ, "OMP_NUM_THREADS": "1"}))
        wait_for(lambda: len(self.workers()) == 2 and self._answers())

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(self.gateway.url + "/version").status_code == 200
        return False

    def workers(self) -> list[psutil.Process]:
        """Front workers of the newest keeper, oldest first."""
        with contextlib.suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.keepers[-1].pid).children()
            return sorted((p for p in found if p.status() != psutil.STATUS_ZOMBIE), key=lambda p: p.create_time())
        return []

    def tell(self, number: signal.Signals) -> None:
        """Send the keeper a signal."""
        self.keepers[-1].send_signal(number)

    def seen_by(self) -> dict[int, int]:
        """Requests that each worker has logged."""
        counted: dict[int, int] = defaultdict(int)
        for path in (self.gateway.root / "log" / "flights").glob("predictions-*.jsonl"):
            counted[int(path.name.split("-")[1])] += len(path.read_bytes().splitlines())
        return counted


@pytest.fixture
def kept(tmp_path: Path, models: Models) -> Iterator[Kept]:
    """Two workers; version 1 serves."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        sys.executable,
        "-m",
        "tests.integration.keeper_process",
        str(tmp_path),
        str(models.root),
        str(port),
        "2",
    ]
    made = Kept(Gateway(tmp_path, url, models, GatewayTraffic(url, TOKEN)), command)
    try:
        made.begin()
        made.gateway.shift(0, None)
        yield made
    finally:
        for keeper in made.keepers:
            keeper.terminate()
            keeper.wait(60)


@dataclass
class Seen:
    """What callers saw, in order of each caller."""

    answers: list[tuple[str, str, int]] = field(default_factory=list)
    lost: int = 0


@contextlib.contextmanager
def calling(gateway: Gateway, units: int = 40) -> Iterator[Seen]:
    """Callers with connections that stay open, each with units of its own, until the block ends."""
    seen, stop = Seen(), threading.Event()

    def ask(caller: int) -> None:
        with httpx.Client(timeout=60.0) as client:
            for number in itertools.count():
                if stop.is_set():
                    return
                unit = f"{caller}-{number % units}"
                body = {"dataframe_records": [{"unit": unit, "x": 1.0, "y": 2.0}]}
                try:
                    said = client.post(f"{gateway.url}/models/flights/invocations", json=body)
                except httpx.TransportError:
                    seen.lost += 1
                    continue
                if said.status_code == 200:
                    generation = int(said.headers["x-model-generation"])
                    seen.answers.append((unit, said.headers["x-model-version"], generation))
                else:
                    seen.lost += 1

    threads = [threading.Thread(target=ask, args=(caller,)) for caller in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: len(seen.answers) > 20)
        yield seen
        more = len(seen.answers) + 100
        wait_for(lambda: len(seen.answers) > more)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_both_workers_answer_and_count_together(kept: Kept) -> None:
    """Fresh connections come to either worker; the counts are of both, and so is the log."""

    def both() -> bool:
        for _ in range(20):
            assert kept.gateway.ask().status_code == 200
        return len(kept.seen_by()) == 2

    wait_for(both)
    told = kept.gateway.traffic.stats("flights")["versions"][GOOD]["requests"]  # type: ignore[index]
    assert told == sum(kept.seen_by().values())


def test_growing_weights_are_seen_by_all_and_move_nobody_back(kept: Kept) -> None:
    """Through 30 route changes under load nobody fails, everybody is answered by the route, and no unit goes back."""
    gateway = kept.gateway
    weights = {1: 0.0}
    with calling(gateway) as seen:
        for generation in range(2, 32):
            weights[generation] = 3.0 * (generation - 1)
            gateway.shift(weights[generation], generation=generation)
            for _ in range(3):  # at either worker, on a connection of its own
                said = gateway.ask(unit="fresh")
                assert int(said.headers["x-model-generation"]) == generation
    assert seen.lost == 0
    with_candidate: set[str] = set()
    for unit, version, generation in seen.answers:  # one caller asks for a unit at a time, in order
        assert weights[generation] > 0.0 or version == GOOD
        if version == BETTER:
            with_candidate.add(unit)
        else:
            assert unit not in with_candidate
    assert with_candidate


def test_a_killed_worker_loses_what_it_was_at_and_comes_back(kept: Kept) -> None:
    """Each of its callers may lose the request that is under way; every acknowledged one is in the log."""
    with calling(kept.gateway) as seen:
        for _ in range(2):
            before = {p.pid for p in kept.workers()}
            kept.workers()[0].kill()
            wait_for(lambda before=before: len({p.pid for p in kept.workers()} - before) == 1)  # type: ignore[misc]
            answered = len(seen.answers)
            wait_for(lambda answered=answered: len(seen.answers) > answered + 40)  # type: ignore[misc]
    assert seen.lost <= 2 * CALLERS
    assert sum(kept.seen_by().values()) >= len(seen.answers)


def test_a_killed_keeper_loses_nothing_and_the_next_one_takes_over(kept: Kept) -> None:
    """Its workers serve on; the next keeper has the same socket, and the old workers leave once its own answer."""
    with calling(kept.gateway) as seen:
        old = kept.workers()
        kept.keepers[-1].kill()
        kept.keepers[-1].wait()
        answered = len(seen.answers)
        wait_for(lambda: len(seen.answers) > answered + 40)
        kept.begin()
        wait_for(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in old))
        live = kept.gateway.traffic.live("flights")
        assert live is not None
        assert live.generation == 1
        kept.gateway.shift(100, generation=2)
        assert kept.gateway.ask().headers["x-model-version"] == BETTER
    assert seen.lost == 0


def test_a_reload_and_other_sizes_fail_nobody(kept: Kept) -> None:
    """Every worker is replaced, one is added and one let go, under load."""
    with calling(kept.gateway) as seen:
        old = {p.pid for p in kept.workers()}
        kept.tell(signal.SIGHUP)
        wait_for(lambda: len(kept.workers()) == 2 and not old & {p.pid for p in kept.workers()})
        kept.tell(signal.SIGTTIN)
        wait_for(lambda: len(kept.workers()) == 3)
        kept.tell(signal.SIGTTOU)
        wait_for(lambda: len(kept.workers()) == 2)
    assert seen.lost == 0


def test_a_killed_nursery_stops_nothing(kept: Kept) -> None:
    """Without its nursery a worker starts processes the slow way."""
    for worker in kept.workers():
        min(worker.children(), key=lambda p: p.create_time()).kill()
    kept.gateway.shift(100, generation=2)
    assert kept.gateway.ask().headers["x-model-version"] == BETTER


def test_nothing_is_left_when_the_keeper_ends(kept: Kept) -> None:
    """SIGTERM ends the workers, their nurseries and every process of a model."""
    family = psutil.Process(kept.keepers[-1].pid).children(recursive=True)
    assert len(family) >= 6
    kept.tell(signal.SIGTERM)
    assert kept.keepers[-1].wait(60) == 0
    wait_for(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family))


def test_models_processes_die_with_a_killed_worker(kept: Kept) -> None:
    """Nothing of a killed worker lives on."""
    worker = kept.workers()[0]
    family = worker.children(recursive=True)
    worker.kill()
    wait_for(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family))
