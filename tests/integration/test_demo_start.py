"""The demo's start: parallel parts share no imports, and a failure is one line with nothing left running."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from surefoot.cli import main
from surefoot.cli.local import stack
from surefoot.core.errors import Unavailable
from surefoot.demo.training_process import TrainingProcess

IMPORTS = """
import sys, threading, pathlib
before = None
def watch(event, arguments):
    if event == "import" and threading.current_thread() is not threading.main_thread():
        print("THREAD", threading.current_thread().name, arguments[0], flush=True)
sys.addaudithook(watch)
from surefoot.demo.training_process import TrainingProcess
if __name__ == "__main__":
    training = TrainingProcess(pathlib.Path(sys.argv[1]))
    from surefoot.demo import scenario
    from surefoot.demo import demo_report
    from surefoot.demo import traffic_replay
    try:
        training.result()
    except Exception as error:
        print("ENDED", error)
    training.stop()
"""


def test_the_demo_imports_nothing_beside_its_main_thread(tmp_path: Path) -> None:
    """While models are trained and servers start, no thread of the demo imports a library that another one imports."""
    script = tmp_path / "imports.py"
    script.write_text(IMPORTS, encoding="utf-8")
    broken = tmp_path / "flights.parquet"
    broken.write_text("not Parquet", encoding="utf-8")  # the training imports everything, and ends there
    done = subprocess.run([sys.executable, str(script), str(broken)], capture_output=True, text=True, check=True)
    assert "ENDED the demo's models could not be trained" in done.stdout
    assert "THREAD" not in done.stdout


def test_a_failed_training_says_why(tmp_path: Path) -> None:
    """An error of the training process is one line of the demo."""
    broken = tmp_path / "flights.parquet"
    broken.write_text("not Parquet", encoding="utf-8")
    training = TrainingProcess(broken)
    with pytest.raises(Unavailable, match="could not be trained: ArrowInvalid"):
        training.result()
    training.stop()


def test_a_killed_training_is_told(tmp_path: Path) -> None:
    """A training process that is killed ends the wait for it, and its end is named."""
    training = TrainingProcess(tmp_path / "flights.parquet")
    training.process.kill()
    with pytest.raises(Unavailable, match="training process ended with code -9"):
        training.result()
    training.stop()


def test_an_unexpected_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """An error that no part of the program expects is one line that names a file with the details, and exit code 70."""

    def breaks(*_: object, **__: object) -> None:
        raise ImportError("cannot import name 'clone' from partially initialized module")

    monkeypatch.setattr(stack, "start_stack", breaks)
    monkeypatch.setattr(sys, "argv", ["surefoot", "demo", "--home", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capfd.readouterr().err
    assert ended.value.code == 70
    assert said.count("\n") == 1
    assert "cannot import name 'clone'" in said
    kept = Path(said.rsplit(" ", 1)[1].strip())
    assert "ImportError" in kept.read_text(encoding="utf-8")
    kept.unlink()


def listening() -> None:
    """Hear every signal, as at a terminal: a shell that starts its commands in the background ignores some for them."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.sweep),
        pytest.param(signal.SIGHUP, marks=pytest.mark.sweep),
    ],
)
def test_a_demo_that_is_stopped_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    """A demo that is told to stop while its servers start ends them and its training process."""
    command = [sys.executable, "-m", "surefoot", "demo", "--home", str(tmp_path / "home")]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=listening,  # noqa: PLW1509 - no threads
    ) as running:
        started: set[psutil.Process] = set()

        def look() -> None:
            started.update(psutil.Process(running.pid).children(recursive=True))

        deadline = time.monotonic() + 120.0
        while not any((tmp_path / "home").glob("*/logs/mlflow.log")):  # both servers have been started
            assert running.poll() is None
            assert time.monotonic() < deadline, "the demo starts no server"
            look()
            time.sleep(0.05)
        look()
        os.kill(running.pid, number)
        said = running.communicate(timeout=120)[0].decode()
    assert running.returncode != 0
    assert "Traceback" not in said
    assert len(started) >= 2
    _, left = psutil.wait_procs(started, timeout=60.0)
    assert [each.cmdline() for each in left] == []
