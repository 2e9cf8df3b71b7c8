"""`up` and `down` with a gateway whose supervisor, or other parts, have died; MLflow and Prefect are stand-ins."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from surefoot.cli.local import processes, stack
from surefoot.cli.local.stack_options import StackOptions
from surefoot.core.errors import Rejected
from surefoot.gateway.control.shared_routes import SharedRouteTable
from surefoot.settings import Settings
from tests import local_http
from tests.conftest import free_port
from tests.e2e.stack_scenario import Home, leftovers
from tests.integration.gateway_harness import BETTER, GOOD, save_pyfunc
from tests.integration.gateway_process import Models
from tests.integration.supervisor_harness import PATH, supervised_gateway
from tests.integration.waiting import ended, wait_for

if TYPE_CHECKING:
    import pandas as pd

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


class Partial(Home):
    """A home with a real gateway; the other parts only sleep."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "home")
        self.project = folder / "project"
        (self.project / "configs").mkdir(parents=True)
        (self.project / "prefect.yaml").touch()
        self.others = {name: self._sleeper() for name in ("mlflow", "prefect", "worker", "controller")}
        mlflow, prefect, gateway = (f"http://127.0.0.1:{free_port()}" for _ in range(3))
        known = {name: processes.identify_process(one.pid) for name, one in self.others.items()}
        Settings(self.folder, self.project, mlflow, prefect, gateway, "secret", processes=known).save()

    def _sleeper(self) -> "subprocess.Popen[bytes]":
        environment = {**os.environ, "SUREFOOT_HOME": str(self.folder)}
        return subprocess.Popen(SLEEPER, start_new_session=True, env=environment)

    @property
    def supervisor(self) -> int:
        """Process id of the gateway's supervisor."""
        return self.settings.processes["gateway"][0]

    def workers(self) -> set[int]:
        """Front workers of the gateway."""
        route_table = SharedRouteTable(self.folder / "gateway")
        return {route_table.worker_pid(slot) for slot in route_table.live_workers()}

    def up(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run `surefoot up`, from a folder that is no project."""
        return self.run("up", *words)

    def lose_supervisor(self) -> set[int]:
        """Kill the supervisor; the workers that it leaves behind."""
        count = min(4, len(os.sched_getaffinity(0)))
        wait_for(lambda: len(self.workers()) == count)
        os.kill(self.supervisor, signal.SIGKILL)
        wait_for(lambda: ended(self.supervisor))
        return self.workers()

    def clear(self) -> None:
        """Leave no process, whatever has happened."""
        for line in list(leftovers(self.folder)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(line.split()[0]), signal.SIGKILL)
        for one in self.others.values():
            one.wait()


@pytest.fixture
def partial(tmp_path: Path) -> Iterator[Partial]:
    """A stack that runs, but for its gateway."""
    made = Partial(tmp_path)
    try:
        yield made
    finally:
        made.clear()


@contextlib.contextmanager
def asking(url: str) -> Iterator[list[str]]:
    """A caller that does not stop, on a new connection each time; what went wrong."""
    troubles: list[str] = []
    enough, asked = threading.Event(), threading.Event()

    def ask() -> None:
        while not enough.is_set():
            try:
                local_http.get(f"{url}/version", timeout=90.0).raise_for_status()
            except httpx.HTTPError as error:
                troubles.append(repr(error))
            asked.set()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        assert asked.wait(60)
        yield troubles
    finally:
        enough.set()
        thread.join()


def test_up_starts_what_is_missing(partial: Partial) -> None:
    """`up` on a stack without its gateway, then without its supervisor, starts that alone; no caller is refused.

    Wishes that the running parts cannot follow are refused, and so is an `up` for which there is nothing to do.
    """
    before = partial.settings
    first = partial.up()
    assert (first.returncode, first.stderr) == (0, "")
    assert "already running: mlflow, prefect, worker, controller; starting again: gateway" in first.stdout
    old = partial.lose_supervisor()
    with asking(before.gateway) as troubles:
        refused = partial.up("--gateway-port", str(free_port()))
        assert refused.returncode == 2
        assert f"--gateway-port {before.gateway.rpartition(':')[2]}, not" in refused.stderr
        assert partial.workers() == old
        again = partial.up("--gateway-port", before.gateway.rpartition(":")[2])
        wait_for(lambda: all(map(ended, old)))
    assert (again.returncode, again.stderr) == (0, "")
    assert f"{len(old)} gateway workers without a supervisor; starting again: gateway" in again.stdout
    assert troubles == []
    after = partial.settings
    assert (after.mlflow, after.prefect, after.gateway) == (before.mlflow, before.prefect, before.gateway)
    assert before.processes.items() <= after.processes.items()
    assert partial.workers()
    nothing = partial.up()
    assert nothing.returncode == 2
    assert "a stack is running" in nothing.stderr
    assert partial.run("down").returncode == 0
    assert list(leftovers(partial.folder)) == []


def test_an_up_that_fails_leaves_the_rest_alone(partial: Partial) -> None:
    """When a missing part cannot be started, `up` says why, and the others run on, with or without a supervisor."""
    assert partial.up().returncode == 0
    old = partial.lose_supervisor()
    for pid in old:  # who hangs hands no socket over
        os.kill(pid, signal.SIGSTOP)
    failed = partial.up()
    for pid in old:
        os.kill(pid, signal.SIGCONT)
    assert failed.returncode == 4
    assert "cannot listen" in failed.stderr
    assert partial.workers() == old
    assert all(one.poll() is None for one in partial.others.values())
    assert partial.up().returncode == 0


def test_down_ends_workers_without_a_supervisor(partial: Partial) -> None:
    """`down` after the supervisor has died ends the workers that it left behind, and all that they have started."""
    assert partial.up().returncode == 0
    old = partial.lose_supervisor()
    done = partial.run("down")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"stopped gateway, {len(old)} workers without a supervisor among it" in done.stdout
    assert list(leftovers(partial.folder)) == []
    assert partial.settings.processes == {}


def test_down_ends_what_a_dead_server_left_behind(tmp_path: Path) -> None:
    """When the leader of a part has died, `down` ends what it had started, and nothing of another home."""
    program = f"import subprocess, sys, time; print(subprocess.Popen({SLEEPER!r}).pid, flush=True); time.sleep(600)"
    with contextlib.ExitStack() as open_:
        left, known = [], {}
        for home in ("mine", "other"):
            environment = {**os.environ, "SUREFOOT_HOME": str(tmp_path / home)}
            command = [sys.executable, "-c", program]
            leader = subprocess.Popen(command, start_new_session=True, env=environment, stdout=subprocess.PIPE)
            open_.callback(leader.wait)
            open_.callback(leader.kill)
            assert leader.stdout is not None
            open_.enter_context(leader.stdout)
            left.append(int(leader.stdout.readline()))
            known[home] = processes.identify_process(leader.pid)
            open_.callback(_kill, left[-1])
            leader.kill()
            leader.wait()
        url = "http://127.0.0.1:1"
        both = {"mlflow": known["mine"], "prefect": known["other"]}
        stack.stop_stack(Settings(tmp_path / "mine", tmp_path, url, url, url, "secret", processes=both))
        assert ended(left[0])
        assert not ended(left[1])


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_a_request_that_is_under_way_is_answered_before_down_ends_its_model(tmp_path: Path) -> None:
    """`down` ends only the supervisor: a champion that predicts meanwhile is asked once, and its caller is answered."""
    home, models = tmp_path / "home", tmp_path / "models"
    armed, begun, go = (tmp_path / name for name in ("armed", "begun", "go"))

    def slow(frame: "pd.DataFrame") -> object:
        import time  # noqa: PLC0415 - this function is saved and runs elsewhere

        if armed.exists():
            with begun.open("a") as asked:
                asked.write("asked\n")
            while not go.exists():
                time.sleep(0.01)
        return frame["x"]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice on saving a model
        for number in (GOOD, BETTER):
            save_pyfunc(models / number, slow)
    (home / "gateway").mkdir(parents=True)
    with supervised_gateway(home / "gateway", Models(models), hosted=True, weight=0.0) as gateway:
        url = f"http://127.0.0.1:{gateway.port}"
        known = {"gateway": processes.identify_process(gateway.supervisor)}
        armed.touch()
        answers: list[httpx.Response] = []

        def ask() -> None:
            body = {"dataframe_records": [{"unit": "N14228", "x": 1.0, "y": 2.0}]}
            answers.append(local_http.post(url + PATH, json=body, timeout=60.0))

        asking, ending = (
            threading.Thread(target=ask),
            threading.Thread(
                target=stack.stop_stack, args=(Settings(home, tmp_path, url, url, url, "t", processes=known),)
            ),
        )
        asking.start()
        wait_for(begun.exists)
        ending.start()
        wait_for(lambda: _refuses(url))
        go.touch()
        asking.join()
        ending.join()
        assert [answer.status_code for answer in answers] == [200]
        assert begun.read_text() == "asked\n"  # by one process: nobody had to ask another one
        assert not processes.is_alive(known["gateway"])


def _refuses(url: str) -> bool:
    try:
        local_http.get(f"{url}/version", timeout=1.0)
    except httpx.HTTPError:
        return True
    return False


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (StackOptions(mlflow_port=9), "--mlflow-port 1, not 9"),
        (StackOptions(clock="replay:x"), "--clock system, not replay:x"),
        (StackOptions(tick=7), "--tick 60, not 7"),
    ],
)
def test_options_that_what_runs_cannot_follow_are_refused(tmp_path: Path, options: StackOptions, says: str) -> None:
    """`up` where a part runs is refused, and starts nothing, when it asks for what this part does not have."""
    (tmp_path / "prefect.yaml").touch()
    url = "http://127.0.0.1:1"
    Settings(
        tmp_path, tmp_path, url, url, url, "t", processes={"mlflow": processes.identify_process(os.getpid())}
    ).save()
    with pytest.raises(Rejected, match=says):
        stack.start_stack(tmp_path, tmp_path, options)
    assert not (tmp_path / "logs").exists()


def test_two_commands_at_once_never_share_a_home(partial: Partial) -> None:
    """Of two `up` in one home one starts the stack and the other is refused with exit code 3."""
    both = [partial.start("up") for _ in range(2)]
    said = [one.communicate(timeout=120) for one in both]
    codes = sorted(one.returncode for one in both)
    assert codes in ([0, 3], [0, 2]), said  # 2 when the first had ended before the second began
    refusal = next(err for (_, err), one in zip(said, both, strict=True) if one.returncode)
    assert "another 'surefoot up' or 'surefoot down' is at work" in refusal or "a stack is running" in refusal
    assert partial.run("down").returncode == 0
    wait_for(lambda: not list(leftovers(partial.folder)))


@pytest.mark.parametrize("written", ["nothing", "{ half a file"])
def test_down_finds_what_nothing_has_written_down(tmp_path: Path, written: str) -> None:
    """A process that `up` started and could not note, because it was killed, is found and stopped by `down`."""
    home = Home(tmp_path)
    if written != "nothing":
        (tmp_path / "stack.json").write_text(written, encoding="utf-8")
    environment = {**os.environ, "SUREFOOT_HOME": str(tmp_path), processes.STACK_PROCESS_VARIABLE: "mlflow"}
    with subprocess.Popen(SLEEPER, start_new_session=True, env=environment) as lost:
        done = home.run("down")
        assert (done.returncode, done.stderr) == (0, "")
        assert "stopped 1 processes" in done.stdout
        assert lost.wait(timeout=180) == -signal.SIGTERM
    assert home.run("down").returncode == 2


def test_a_held_lock_is_a_conflict(tmp_path: Path) -> None:
    """While one command holds a home's lock, `up` and `down` there are refused and touch nothing."""
    with (tmp_path / "stack.lock").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for command in ("up", "down"):
            done = Home(tmp_path).run(command)
            assert done.returncode == 3
            assert "is at work in" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["stack.lock"]
