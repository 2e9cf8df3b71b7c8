"""A run that is forked is supervised by its client like one that is an interpreter of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from surefoot.controller.flow_forkserver import FlowForkserver
from surefoot.controller.flow_forkserver_program import MODEL_HOST_MODULE
from surefoot.controller.forked_run import FORKSERVER_SOCKET_NAME, KILLED_EXIT_CODE
from tests.integration.waiting import ended, wait_for

IMPORTED = """\
import os
from pathlib import Path
Path("imported").open("a").write(f"{os.getpid()}\\n")
VALUE = "first"
"""
RUN = """\
import os, signal, subprocess, sys, time
from pathlib import Path
import slow_to_import

def story():
    print("told", slow_to_import.VALUE, os.environ.get("WHO", ""), flush=True)
    Path("run").write_text(str(os.getpid()))
    match sys.argv[1:]:
        case ["code", code]:
            sys.exit(int(code))
        case ["fail"]:
            raise ValueError("no good")
        case ["child"]:
            sys.exit(subprocess.run([sys.executable, "-c", "raise SystemExit(7)"]).returncode)
        case ["models"]:
            import socket
            from surefoot.adapters.replay import version_processes
            from surefoot.models.forking.forkserver import Forkserver
            server, (ours, theirs) = version_processes._forkservers[-1], socket.socketpair()
            child = server.fork(["no arguments of a model"], theirs.fileno())
            print(isinstance(server, Forkserver), server.pid, child.wait(60), flush=True)
        case ["wait"]:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
            while not Path("go").exists():
                time.sleep(0.02)

if __name__ == "__main__":
    story()
"""


@dataclass
class Project:
    """A folder with a module that is imported once, and a program that is run."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a worker gives its processes."""
        return {**os.environ, "SUREFOOT_HOME": str(self.folder), "STORY_SETTING": "1"}

    @contextlib.contextmanager
    def started(self, *words: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
        """The client of a run; it is gone in the end."""
        (self.folder / "run").unlink(missing_ok=True)
        command = [sys.executable, "-m", "surefoot.controller.forked_run", "story", *words]
        pipe, settings = subprocess.PIPE, {**self.environment, **environment}
        with subprocess.Popen(command, cwd=self.folder, env=settings, stdout=pipe, stderr=pipe, text=True) as client:
            try:
                yield client
            finally:
                client.kill()

    def run(self, *words: str, **environment: str) -> tuple[int, str, str]:
        """Exit code and output of a run."""
        with self.started(*words, **environment) as client:
            out, err = client.communicate(timeout=120)
            return client.returncode, out, err

    def imports(self) -> int:
        """How often the module was imported [count]."""
        return len((self.folder / "imported").read_text().split())

    def pid(self) -> int:
        """Process id of the run."""
        file = self.folder / "run"
        wait_for(lambda: file.exists() and bool(file.read_text()))
        return int(file.read_text())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project without a forkserver; its path is longer than that of a socket may be."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    (folder / "slow_to_import.py").write_text(IMPORTED)
    (folder / "story.py").write_text(RUN)
    return Project(folder)


@pytest.fixture
def server(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator["subprocess.Popen[bytes]"]:
    """Its forkserver."""
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    processes = FlowForkserver(project.folder, ("slow_to_import",))
    processes.ensure()
    found = processes._server
    assert found is not None
    assert found.stdin is not None
    wait_for((project.folder / FORKSERVER_SOCKET_NAME).exists)
    try:
        yield found
    finally:
        found.stdin.close()
        found.wait(60)


def test_without_a_forkserver_a_run_is_an_interpreter_of_its_own(project: Project) -> None:
    """Where no forkserver answers, the same command runs the module all the same."""
    assert project.run("code", "3") == (3, "told first \n", "")
    (project.folder / FORKSERVER_SOCKET_NAME).touch()  # what a server that was killed leaves behind is no server
    assert project.run("code", "4") == (4, "told first \n", "")
    assert project.imports() == 2


def test_forked_runs_import_nothing_again(project: Project, server: "subprocess.Popen[bytes]") -> None:
    """Runs are forked from what was imported once, with the environment, the output and the exit code of their own."""
    assert project.run("code", "3", WHO="me") == (3, "told first me\n", "")
    assert project.run("child", WHO="you") == (7, "told first you\n", "")
    code, out, err = project.run("fail")
    assert (code, out) == (1, "told first \n")
    assert "ValueError: no good" in err
    assert project.imports() == 1


def test_what_is_imported_when_idle_is_imported_once_without_any_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that few runs need is imported after a while without runs, and runs after that do not import it."""
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    processes = FlowForkserver(project.folder, (), ("slow_to_import",))
    processes.ensure()
    found = processes._server
    assert found is not None
    assert found.stdin is not None
    try:
        wait_for((project.folder / "imported").exists)
        assert project.run("code", "3") == (3, "told first \n", "")
        assert project.imports() == 1
    finally:
        found.stdin.close()
        found.wait(60)


def test_an_import_when_idle_hides_no_changed_source_and_may_fail(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that changes before an import when idle is run as it is then, also where that import fails."""
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    (project.folder / "broken.py").write_text("open('tried', 'w').close()\nraise ValueError('broken')\n")
    processes = FlowForkserver(project.folder, ("slow_to_import",), ("broken",))
    processes.ensure()
    found = processes._server
    assert found is not None
    assert found.stdin is not None
    try:
        wait_for((project.folder / FORKSERVER_SOCKET_NAME).exists)
        (project.folder / "slow_to_import.py").write_text(IMPORTED.replace("first", "second"))
        wait_for((project.folder / "tried").exists)
        assert project.run("code", "3")[:2] == (3, "told second \n")
        assert found.poll() is None
    finally:
        found.stdin.close()
        found.wait(60)


def test_a_run_has_a_forkserver_of_model_processes(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run can fork model processes from its start, without importing MLflow again; they end with the run."""
    monkeypatch.setenv("SUREFOOT_HOME", str(project.folder))
    processes = FlowForkserver(project.folder, ("slow_to_import", MODEL_HOST_MODULE))
    processes.ensure()
    found = processes._server
    assert found is not None
    assert found.stdin is not None
    try:
        wait_for((project.folder / FORKSERVER_SOCKET_NAME).exists)
        code, out, err = project.run("models")
        assert code == 0, err
        forked, pid, exit_code = out.splitlines()[-1].split()
        assert (forked, exit_code) == ("True", "1")  # it is told nothing that it could load
        wait_for(lambda: ended(int(pid)))
        assert project.imports() == 1
    finally:
        found.stdin.close()
        found.wait(60)


def test_changed_code_is_run_as_it_is_now(project: Project, server: "subprocess.Popen[bytes]") -> None:
    """After an edit the next run has the new code, and those after it are forked again."""
    assert project.run("code", "0")[1] == "told first \n"
    (project.folder / "slow_to_import.py").write_text(IMPORTED.replace("first", "second"))
    os.utime(project.folder / "slow_to_import.py", (time.time() + 10.0, time.time() + 10.0))
    assert project.run("code", "0")[1] == "told second \n"
    assert project.run("code", "0")[1] == "told second \n"
    wait_for(lambda: project.run("code", "0")[1] == "told second \n" and project.imports() == _settled(project))


def _settled(project: Project) -> int:
    before = project.imports()
    project.run("code", "0")
    return before if project.imports() == before else -1


def test_other_settings_are_not_mixed_up(project: Project, server: "subprocess.Popen[bytes]") -> None:
    """A run whose library has other settings than the forkserver's is an interpreter of its own."""
    assert project.run("code", "0", STORY_SETTING="2")[0] == 0
    assert project.imports() == 2
    assert project.run("code", "0", STORY__RUN="3")[0] == 0  # what is said to one run is no setting
    assert project.imports() == 2


def test_signals_reach_the_run(project: Project, server: "subprocess.Popen[bytes]") -> None:
    """SIGTERM to the client ends the run as it likes to be ended; SIGKILL to the client kills the run too."""
    with project.started("wait") as client:
        pid = project.pid()
        client.terminate()
        assert client.wait(60) == 9
        wait_for(lambda: ended(pid))
    with project.started("wait") as client:
        pid = project.pid()
        client.kill()
        client.wait(60)
        wait_for(lambda: ended(pid))


def test_a_run_that_is_killed_is_said(project: Project, server: "subprocess.Popen[bytes]") -> None:
    """A run that goes without a word gives its client an exit code that no run gives."""
    with project.started("wait") as client:
        os.kill(project.pid(), signal.SIGKILL)
        assert client.wait(60) == KILLED_EXIT_CODE
        assert client.stderr is not None
        assert "ended without a word" in client.stderr.read()


def test_a_forkserver_that_is_killed_takes_no_run_along(project: Project, server: "subprocess.Popen[bytes]") -> None:
    """Runs that were forked go on to their end and are told right; later ones are interpreters of their own."""
    with project.started("wait") as client:
        project.pid()
        server.kill()
        server.wait(60)
        assert project.run("code", "5")[0] == 5
        (project.folder / "go").touch()
        assert client.wait(60) == 0
    assert project.imports() == 2


def test_a_forkserver_ends_with_its_controller(project: Project) -> None:
    """When the process that has started it is killed the forkserver ends, and it is started anew by the next one."""
    program = (
        "import sys, time; from pathlib import Path; from surefoot.controller.flow_forkserver import FlowForkserver\n"
        "one = FlowForkserver(Path('.'), ('slow_to_import',)); one.ensure(); print(one._server.pid, flush=True)\n"
        "time.sleep(600)"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=project.folder, env=project.environment, stdout=subprocess.PIPE) as controller:
        assert controller.stdout is not None
        pid = int(controller.stdout.readline())
        wait_for((project.folder / FORKSERVER_SOCKET_NAME).exists)
        controller.kill()
    wait_for(lambda: ended(pid))


def test_a_forkserver_that_dies_is_started_again_after_a_pause(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forkserver that has ended is started again, and one that cannot start is not tried without a pause."""
    monkeypatch.setenv("SUREFOOT_HOME", str(project.folder))
    processes = FlowForkserver(project.folder, ("no_such_module",))
    processes.ensure()
    first = processes._server
    assert first is not None
    first.wait(60)
    processes.ensure()
    assert processes._server is first
    monkeypatch.setattr(processes, "_again", 0.0)
    processes.ensure()
    second = processes._server
    assert second is not None
    assert second is not first
    second.wait(60)
    with contextlib.suppress(BrokenPipeError):
        assert second.stdin is not None
        second.stdin.close()
