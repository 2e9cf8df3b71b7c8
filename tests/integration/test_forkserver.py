"""Processes that a forkserver forks: they belong to the worker, whatever becomes of the forkserver."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from surefoot.models.forking.forkserver import ChildProcess, ForkserverGone
from surefoot.models.forking.forkserver_program import ForkserverProgram
from tests.integration.waiting import ended, wait_for


class Worker:
    """A worker in a process of its own."""

    def __init__(self, log: Path, *, program: bool = False) -> None:
        command = [sys.executable, "-m", "tests.integration.forkserver_process", *(["program"] if program else [])]
        self.program = program
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        told = self.hear()
        self.pid, self.forkserver = told["worker"], told["forkserver"]
        self.forked: list[int] = []

    def hear(self) -> Any:
        """What it says next."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "it has ended"
        return json.loads(line)

    def ask(self, *words: object) -> Any:
        """Have it do something; what it says to that."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        said = self.hear()
        if isinstance(said, dict) and "known" in said:
            self.forked.append(said["known"])
        return said


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """A worker with a forkserver that was forked from it; nothing of it is left afterwards."""
    with running(tmp_path) as made:
        yield made


@pytest.fixture(params=["forked", "program"])
def any_worker(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Worker]:
    """A worker with a forkserver of either kind; nothing of it is left afterwards."""
    with running(tmp_path, program=request.param == "program") as made:
        yield made


@contextlib.contextmanager
def running(root: Path, *, program: bool = False) -> Iterator[Worker]:
    """A worker, and nothing of it afterwards."""
    made = Worker(root / "worker.log", program=program)
    with made.process:
        yield made
        made.process.kill()
    wait_for(lambda: all(map(ended, [made.forkserver, *made.forked])))


def test_what_is_forked_is_the_workers(worker: Worker) -> None:
    """It has its arguments, a socket to the worker and a session of its own, and the worker is its parent."""
    told = worker.ask("fork", "stay", "ä b")
    assert told["known"] == told["pid"] == told["session"]
    assert told["arguments"] == ["stay", "ä b"]
    assert told["parent"] == worker.pid
    assert worker.forkserver not in (told["pid"], worker.pid)
    assert psutil.Process(told["pid"]).ppid() == worker.pid
    assert {child.pid for child in psutil.Process(worker.pid).children()} == {worker.forkserver, told["pid"]}
    assert told["shut"] is True


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("exit", "3"), 3),
        (("exit", "0"), 0),
        (("end",), 0),
        (("raise",), 1),
        (("crash",), -signal.SIGSEGV),
    ],
)
def test_how_it_ended_is_told(any_worker: Worker, words: tuple[str, ...], code: int) -> None:
    """Its exit code, or minus the signal that ended it, is what the worker waits for; asked again it is the same."""
    pid = any_worker.ask("fork", *words)["pid"]
    assert any_worker.ask("wait", pid, 60.0) == code
    assert any_worker.ask("wait", pid, 0.0) == code
    assert ended(pid)


def test_a_wait_may_be_too_short(any_worker: Worker) -> None:
    """A wait for a process that runs on times out, and returns once the process is killed."""
    pid = any_worker.ask("fork", "stay")["pid"]
    assert any_worker.ask("wait", pid, 0.0) == "not ended"
    os.kill(pid, signal.SIGKILL)
    assert any_worker.ask("wait", pid, 60.0) == -signal.SIGKILL


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_everything_ends_with_the_worker(any_worker: Worker, how: signal.Signals) -> None:
    """However the worker ends, its forkserver and what that has forked end too."""
    pids = [any_worker.ask("fork", "stay")["pid"] for _ in range(3)]
    os.kill(any_worker.pid, how)
    any_worker.process.wait()
    wait_for(lambda: all(map(ended, [any_worker.forkserver, *pids])))


def test_what_a_program_forks_ends_with_it(tmp_path: Path) -> None:
    """It has its arguments and a session of its own; when the program is killed it ends, and others start slowly."""
    with running(tmp_path, program=True) as worker:
        told = worker.ask("fork or spawn", "stay", "ä b")
        assert told["known"] == told["pid"] == told["session"]
        assert told["arguments"] == ["stay", "ä b"]
        assert told["parent"] == worker.forkserver
        os.kill(worker.forkserver, signal.SIGKILL)
        wait_for(lambda: ended(told["pid"]))
        assert worker.ask("wait", told["pid"], 60.0) == -signal.SIGKILL
        later = worker.ask("fork or spawn", "stay")
        assert later["slow"] is True
        assert worker.ask("wait", later["pid"], 60.0) == 0


def test_a_program_that_does_not_start_is_said_to_be_gone() -> None:
    """Where the program ends before it serves, or there is none, the caller is told, and told again at once."""
    for command in ([sys.executable, "-c", "raise SystemExit(3)"], ["/no/such/program"]):
        program = ForkserverProgram(command)
        for _ in range(2):
            with pytest.raises(ForkserverGone, match="does not start"):
                program.start()
        program.close()


def test_a_program_has_the_settings_that_its_libraries_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting of libraries is there before the program imports them, and one of this process comes first."""
    told = "import os, socket, sys; e = socket.socket(fileno=int(sys.argv[1])); e.send(b'1'); e.recv(1); "
    wrong = "sys.exit(os.environ['OMP_NUM_THREADS'] != '{}')"
    for own, expected in ((None, "1"), ("3", "3")):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if own is not None:
            monkeypatch.setenv("OMP_NUM_THREADS", own)
        program = ForkserverProgram([sys.executable, "-c", told + wrong.format(expected)], OMP_NUM_THREADS="1")
        program.start()
        program.close()
        assert program._program is not None
        assert program._program.returncode == 0


def test_children_outlive_the_forkserver(worker: Worker) -> None:
    """When the forkserver is killed what it has forked stays, and later processes are started the slow way."""
    pid = worker.ask("fork or spawn", "stay")["pid"]
    os.kill(worker.forkserver, signal.SIGKILL)
    wait_for(lambda: ended(worker.forkserver))
    assert "gone" in worker.ask("fork", "stay")
    told = worker.ask("fork or spawn", "stay")
    assert told["slow"] is True
    assert told["forked"] is False
    assert told["parent"] == worker.pid
    assert worker.ask("wait", told["pid"], 60.0) == 0
    assert worker.ask("wait", pid, 0.0) == "not ended"
    assert worker.forkserver not in psutil.pids()  # not even as a zombie


def test_a_forkserver_that_hangs_is_given_up(any_worker: Worker) -> None:
    """One that does not answer in time is ended, so that its late answer is not taken for another process."""
    any_worker.ask("patience", 0.1)
    os.kill(any_worker.forkserver, signal.SIGSTOP)
    assert "gone" in any_worker.ask("fork", "stay", "first")
    wait_for(lambda: ended(any_worker.forkserver))
    told = any_worker.ask("fork or spawn", "stay", "second")
    assert told["slow"] is True
    assert told["known"] == told["pid"]
    assert psutil.Process(any_worker.pid).children() == [psutil.Process(told["pid"])]


def test_many_are_forked_one_after_the_other(any_worker: Worker) -> None:
    """Of forty processes each is the one that was asked for, and the forkserver keeps no child and no descriptor."""
    forkserver = psutil.Process(any_worker.forkserver)
    any_worker.ask("wait", any_worker.ask("fork", "end")["pid"], 60.0)
    before = forkserver.num_fds()
    for number in range(40):
        told = any_worker.ask("fork", "exit", str(number))
        assert told["known"] == told["pid"]
        assert told["arguments"] == ["exit", str(number)]
        assert any_worker.ask("wait", told["pid"], 60.0) == number
    assert forkserver.num_fds() == before
    assert forkserver.children() == []


def test_the_end_is_seen_however_many_connections_there_are() -> None:
    """With more than a thousand open descriptors the end of a process is still told."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    with contextlib.ExitStack() as opened:
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1100):
            opened.enter_context(Path(os.devnull).open())
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read(); sys.exit(7)"], stdin=subprocess.PIPE
        )
        found = ChildProcess(child.pid)
        with pytest.raises(subprocess.TimeoutExpired):
            found.wait(0.01)
        assert child.stdin is not None
        child.stdin.close()
        assert found.wait(60.0) == 7
        child.returncode = 7  # it has been waited for
