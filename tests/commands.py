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
    with tempfile.TemporaryDirectory(prefix="command-") as place:
        said = [Path(place) / name for name in ("out", "err")]
        arguments = (words, dict(environment), str(folder or Path.cwd()), [str(file) for file in said])
        process = _FORKSERVER.Process(target=_act, args=arguments)
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(words, timeout)
        out, err = (file.read_text(encoding="utf-8") for file in said)
    return subprocess.CompletedProcess(words, process.exitcode, out, err)


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
