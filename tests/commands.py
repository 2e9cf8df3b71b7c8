"""Run `surefoot` commands, each in a forked process: a fresh interpreter imports for seconds what they need."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

_FORKSERVER = multiprocessing.get_context("forkserver")
_FORKSERVER.set_forkserver_preload(["pytest", "tests.command_imports"])


class RunningCommand:
    """A `surefoot` command under way in a process of its own.

    Attributes:
        returncode: Exit code, or minus the number of the signal that ended it; None while it runs.
    """

    def __init__(self, words: tuple[str, ...], environment: Mapping[str, str], folder: Path | None = None) -> None:
        self._words = words
        self._place = tempfile.TemporaryDirectory(prefix="command-")
        self._said = [Path(self._place.name) / name for name in ("out", "err")]
        arguments = (words, dict(environment), str(folder or Path.cwd()), [str(file) for file in self._said])
        self._process = _FORKSERVER.Process(target=_act, args=arguments)
        self._process.start()
        self.returncode: int | None = None

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._process.kill()

    def communicate(self, timeout: float = 300.0) -> tuple[str, str]:
        """Wait for its end; what it has said on both outputs.

        Args:
            timeout: How long it may take [s].

        Raises:
            subprocess.TimeoutExpired: It took longer, and was killed.
        """
        if self.returncode is None:
            self._process.join(timeout)
            if self._process.exitcode is None:
                self._process.kill()
                self._process.join()
                self._place.cleanup()
                raise subprocess.TimeoutExpired(self._words, timeout)
            self.returncode = self._process.exitcode
            self._text = [file.read_text(encoding="utf-8") if file.exists() else "" for file in self._said]
            self._place.cleanup()
        out, err = self._text
        return out, err


def run_command(
    *words: str, environment: Mapping[str, str], folder: Path | None = None, timeout: float = 300.0
) -> "subprocess.CompletedProcess[str]":
    """Run `surefoot WORDS...` to its end.

    Args:
        words: What stands after `surefoot`.
        environment: Environment variables of the command; it gets no other ones.
        folder: Working folder; that of the tests if None.
        timeout: How long it may take [s].

    Raises:
        subprocess.TimeoutExpired: It took longer, and was killed.
    """
    command = RunningCommand(words, environment, folder)
    out, err = command.communicate(timeout)
    return subprocess.CompletedProcess(words, command.returncode or 0, out, err)


def _act(words: list[str], environment: dict[str, str], folder: str, said: list[str]) -> None:
    """Be the command, as its console script would be."""
    from surefoot.cli import main  # noqa: PLC0415 - the process that starts commands needs none of it

    for number, file in enumerate(said, start=1):
        written = os.open(file, os.O_WRONLY | os.O_CREAT)
        os.dup2(written, number)
        os.close(written)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["surefoot", *words]
    main()
