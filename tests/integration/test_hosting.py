"""Models in processes of their own: whatever a candidate does there, callers have their answers."""

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import psutil
import pytest

from surefoot.adapters.mlflow.artifacts import directory_digest
from surefoot.core.domain import Version
from surefoot.core.errors import ArtifactTampered
from surefoot.models.blocking_calls import run_in_daemon_thread
from surefoot.models.forking.forkserver_program import ForkserverProgram
from surefoot.models.model_connection import ModelConnection
from surefoot.models.model_process import ModelProcess, ProcessDied, spawn_process
from tests.integration.gateway_harness import GOOD, Gateway, listening, save_pyfunc
from tests.integration.gateway_process import Models
from tests.integration.model_forkserver import ForkedModels, running_forkserver
from tests.integration.waiting import ended, wait_for
from tests.sweeps import in_turns

EXITS, CRASHES, ALLOCATES, FORKS, RAISES, HANGS, POISONED = "11", "12", "13", "14", "15", "16", "17"
MEMORY_MB = 6000
"""Address space of a process here; the libraries reserve about half of it [MB]."""


def exits(frame: pd.DataFrame) -> object:
    """End the process without a word."""
    if (frame["x"] == 0.0).all():  # the row that it is warmed with
        return frame["x"]
    os._exit(7)


def crashes(frame: pd.DataFrame) -> object:
    """Die as a native library does."""
    if (frame["x"] == 0.0).all():  # the row that it is warmed with
        return frame["x"]
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(60)
    return frame["x"]


def allocates(frame: pd.DataFrame) -> object:
    """Take memory until there is no more."""
    if (frame["x"] == 0.0).all():  # the row that it is warmed with
        return frame["x"]
    held = []
    while True:
        held.append(np.empty(256 << 20, dtype=np.uint8))  # reserved and not touched: quick, and as limited


def forks(frame: pd.DataFrame) -> object:
    """Leave a child behind that holds on to everything, and die."""
    if (frame["x"] == 0.0).all():  # the row that it is warmed with
        return frame["x"]
    if os.fork() == 0:
        time.sleep(300)
        os._exit(0)
    os._exit(0)


def raises(frame: pd.DataFrame) -> object:
    """Raise."""
    if (frame["x"] == 0.0).all():  # the row that it is warmed with
        return frame["x"]
    raise RuntimeError("no such tree")


def hangs(frame: pd.DataFrame) -> object:
    """Never come back."""
    if (frame["x"] == 0.0).all():  # the row that it is warmed with
        return frame["x"]
    time.sleep(600)
    return frame["x"]


def poisoned(frame: pd.DataFrame) -> object:
    """Answer anything but one row, which ends the process."""
    if (frame["x"] == 666.0).any():
        os._exit(7)
    return frame["x"] * 0.5


class SpawnedModels(Models):
    """Loads each version into a process of its own, which is started as a new program."""

    def __call__(self, model: str, version: Version) -> ModelProcess:
        """Start a process; it verifies the digest before it loads."""
        arguments = [str(self.root / version.number), version.digest, str(MEMORY_MB), "0"]
        return ModelProcess(spawn_process([sys.executable, "-m", "surefoot.adapters.mlflow.model_host", *arguments]))


@pytest.fixture(scope="module")
def forkserver() -> Iterator[ForkserverProgram]:
    """Forks the processes of models, which then need no seconds to start."""
    with running_forkserver() as made:
        yield made


@pytest.fixture
def hosted(models: Models, forkserver: ForkserverProgram) -> ForkedModels:
    """Two good models and some that end their process."""
    bad = {EXITS: exits, CRASHES: crashes, ALLOCATES: allocates, FORKS: forks, RAISES: raises, HANGS: hangs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice to the author of a model
        for number, answer in {**bad, POISONED: poisoned}.items():
            if not (models.root / number).exists():
                save_pyfunc(models.root / number, answer)
    return ForkedModels(models.root, forkserver, MEMORY_MB)


@pytest.fixture
def gateway(tmp_path: Path, hosted: ForkedModels) -> Iterator[Gateway]:
    """A gateway whose models have processes of their own."""
    with listening(tmp_path, hosted, candidate_timeout_s=20.0, processes=2) as made:
        yield made


def deaths(gateway: Gateway, number: str) -> int:
    """How often a version's process has ended."""
    return int(gateway.traffic.stats("flights")["versions"][number]["deaths"])  # type: ignore[index]


@pytest.mark.parametrize(
    ("candidate", "said"),
    in_turns(
        [
            (EXITS, "ProcessDied: its process ended with code 7"),
            (CRASHES, "ProcessDied: its process ended by signal SIGSEGV"),
            (ALLOCATES, "MemoryError"),
            (FORKS, "ProcessDied: its process ended with code 0"),
            (RAISES, "RuntimeError: no such tree"),
        ],
        lambda one: one[0] in {CRASHES, ALLOCATES},
    ),
)
def test_callers_never_notice_a_candidate_that_dies(gateway: Gateway, candidate: str, said: str) -> None:
    """A candidate that exits, crashes, takes all memory or forks is answered for by the champion, and is blamed."""
    gateway.shift(0, None)
    expected = gateway.ask().json()
    gateway.shift(100, candidate, generation=2)
    answers = [gateway.ask() for _ in range(3)]
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, expected)] * 3
    assert {answer.headers["x-model-version"] for answer in answers} == {GOOD}
    errors = [str(record["error"]) for record in gateway.records()[-3:]]
    assert errors[0].startswith(said)
    assert all(error.startswith((said, "Down: ")) for error in errors)
    counts = gateway.traffic.stats("flights")["versions"][candidate]  # type: ignore[index]
    assert counts["candidate_errors"] == 3


def test_what_a_dead_candidate_forked_is_gone_too(gateway: Gateway, hosted: ForkedModels) -> None:
    """No child of a candidate's process outlives it."""
    gateway.shift(100, FORKS)
    gateway.ask()
    assert deaths(gateway, FORKS) >= 1

    def orphans() -> list[int]:
        """Processes of a session whose leader, the candidate's process, has ended."""
        leaders = {pid for number, pid in hosted.started if number == FORKS and ended(pid)}
        return [pid for pid in psutil.pids() if session(pid) in leaders and not ended(pid)]

    assert any(number == FORKS and ended(pid) for number, pid in hosted.started)
    wait_for(lambda: not orphans())


def session(pid: int) -> int:
    """Session of a process; 0 when it is gone."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def test_a_hanging_candidate_is_ended_and_started_again(tmp_path: Path, hosted: ForkedModels) -> None:
    """Callers wait no longer than the patience; the process that hangs is ended in the end."""
    with listening(tmp_path, hosted, candidate_timeout_s=0.2) as gateway:
        gateway.shift(100, HANGS)
        assert gateway.ask().status_code == 200  # it hangs for ten minutes: who waited for it would see no answer

        def ended() -> bool:
            gateway.ask()
            return deaths(gateway, HANGS) > 0

        wait_for(ended)


@contextlib.contextmanager
def callers(gateway: Gateway, count: int = 4) -> Iterator[list[int]]:
    """Callers that ask without end; the status of every answer."""
    seen: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client() as client:
            for number in itertools.count():
                if stop.is_set():
                    return
                body = {"dataframe_records": [{"unit": f"u{number}", "x": 1.0, "y": 2.0}]}
                seen.append(client.post(f"{gateway.url}/models/flights/invocations", json=body, timeout=60).status_code)

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_killed_champion_loses_no_request(gateway: Gateway, hosted: ForkedModels) -> None:
    """Each of a champion's processes is killed under load, one after the other: every caller has an answer."""
    gateway.shift(0, None)
    wait_for(lambda: len(hosted.living(GOOD)) == 2)
    with callers(gateway) as seen:
        wait_for(lambda: len(seen) > 20)
        for _ in range(3):
            before = deaths(gateway, GOOD)
            os.kill(min(hosted.living(GOOD)), signal.SIGKILL)
            wait_for(lambda before=before: deaths(gateway, GOOD) > before)  # type: ignore[misc]
            asked = len(seen)
            wait_for(lambda asked=asked: len(seen) > asked + 20 and len(hosted.living(GOOD)) == 2)  # type: ignore[misc]
    assert set(seen) == {200}
    assert len(gateway.records()) == len(seen)


def test_a_process_that_dies_while_it_is_proved_is_counted(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    """A death over made-up rows is counted and told like one over a caller's, and the version answers afterwards."""
    gateway.shift(0, None, champion=EXITS)
    assert deaths(gateway, EXITS) == 1
    assert f"version {EXITS}: its process ended or hung while it was asked made-up rows" in caplog.text
    assert gateway.ask(x=0.0).json() == {"predictions": [0.0]}


def test_a_request_that_ends_every_process_is_refused_alone(gateway: Gateway) -> None:
    """A poisonous request of the champion is given up after a few processes; the others are answered."""
    gateway.shift(0, None, champion=POISONED)
    assert gateway.ask(x=4.0).json() == {"predictions": [2.0]}
    with callers(gateway, 2) as seen:
        wait_for(lambda: len(seen) > 10)
        poison = gateway.post({"dataframe_records": [{"unit": "n", "x": 666.0, "y": 0.0}]})
    assert poison.status_code == 400
    assert "ProcessDied" in poison.json()["message"]
    assert set(seen) == {200}


def test_time_and_memory_are_of_the_models_process(gateway: Gateway) -> None:
    """Each record says how long the model's own process computed and how much memory it has."""
    gateway.shift(0, None)
    gateway.ask()
    (record,) = gateway.records()
    assert 0.0 < float(str(record["cpu_ms"])) < 10_000.0
    assert 50.0 < float(str(record["rss_mb"])) < MEMORY_MB


@pytest.mark.sweep
def test_a_champion_whose_files_were_spoiled_is_fetched_again(tmp_path: Path, hosted: ForkedModels) -> None:
    """When its process ends and cannot be started from what is on the disk, it is loaded as if for the first time."""
    copied, fetched = ForkedModels(tmp_path / "copies", hosted.forkserver, MEMORY_MB), list[str]()
    kept = copied.root / GOOD

    def fetch(model: str, version: Version) -> ModelProcess:
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(hosted.root / version.number, kept)
        fetched.append(version.number)
        return copied(model, version)

    with listening(tmp_path, hosted, load=fetch) as gateway:
        gateway.shift(0, None)
        expected = gateway.ask().json()
        (kept / "MLmodel").write_text("spoiled")
        os.kill(copied.started[-1][1], signal.SIGKILL)
        wait_for(lambda: gateway.ask().status_code == 503)
        wait_for(lambda: gateway.ask().status_code == 200)
        assert gateway.ask().json() == expected
        assert fetched == [GOOD, GOOD]


def test_other_bytes_are_not_hosted(models: Models) -> None:
    """The process itself checks the digest before it loads, and says what it found."""
    good, spawned = models.version(GOOD), SpawnedModels(models.root)
    with pytest.raises(ArtifactTampered, match="is not of the digest"):
        spawned("flights", Version(GOOD, "sha256:" + "0" * 64, good.data_digest))


def test_a_process_that_says_nothing_is_known_dead() -> None:
    """A program that ends before it has greeted is an error with its exit code, not a wait."""
    with pytest.raises(ProcessDied, match="with code 3"):
        ModelProcess(spawn_process([sys.executable, "-c", "import sys; sys.exit(3)"]))


def test_a_loop_is_touched_by_its_own_thread_alone(hosted: ForkedModels, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is closed in another thread is removed from the loop by the loop, whose memory stays sound."""
    threads = []
    hang_up = ModelConnection.disconnect

    def told(line: ModelConnection) -> None:
        threads.append(threading.get_ident())
        hang_up(line)

    monkeypatch.setattr(ModelConnection, "disconnect", told)
    process = hosted("flights", Version(GOOD, directory_digest(hosted.root / GOOD)))

    async def close_in_thread() -> None:
        await process.ask(("unit", "x", "y"), [["u", 1.0, 2.0]])
        await run_in_daemon_thread(process.close)

    asyncio.run(close_in_thread())
    assert set(threads) == {threading.get_ident()}


@pytest.mark.parametrize("forked", in_turns([True, False], lambda forked: forked))
def test_no_process_is_left_behind(tmp_path: Path, hosted: ForkedModels, forked: bool) -> None:
    """When the gateway has stopped, so have the processes of its models, forked ones and new programs."""
    before = set(psutil.Process().children(recursive=True))
    with listening(tmp_path, hosted if forked else SpawnedModels(hosted.root)) as gateway:
        gateway.shift(0, None)
        assert gateway.ask().status_code == 200
        mine = set(psutil.Process().children(recursive=True)) - before
        assert mine
    wait_for(lambda: all(map(ended, mine)))
