"""Run command lines one after the other, each in the folder and environment that the one before has left."""

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_TIMEOUT_S = 1200.0
_FOREIGN = ("SUREFOOT_", "MLFLOW_", "PREFECT_", "PYTHON")
"""Environment variables that a new reader does not have."""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a command.

    Attributes:
        command: Its words.
        seconds: Wall time [s].
        code: Exit code.
        said: What it has printed, errors included.
    """

    command: str
    seconds: float
    code: int
    said: str


@dataclass
class Terminal:
    """A shell: a folder, an environment, and what runs in its background."""

    folder: Path
    environment: dict[str, str]
    _groups: list[int] = field(default_factory=list)

    def run(self, command: str) -> Done:
        """Run a command to its end; one with `&` at its end goes on in the background."""
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as kept:
            said, folder, environment = (Path(kept) / name for name in ("said", "folder", "environment"))
            after = f"code=$?\npwd > {shlex.quote(str(folder))}\nenv -0 > {shlex.quote(str(environment))}\nexit $code"
            with said.open("wb") as out:
                shell = subprocess.Popen(
                    ["bash", "-c", f"{command}\n{after}"], cwd=self.folder, env=self.environment, stdout=out,
                    stderr=out, stdin=subprocess.DEVNULL, start_new_session=True,
                )  # fmt: skip
            self._groups.append(shell.pid)
            code = shell.wait(_TIMEOUT_S)
            self.folder = Path(folder.read_text(encoding="utf-8").rstrip("\n"))
            pairs = environment.read_text(encoding="utf-8").split("\0")
            self.environment = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
            text = said.read_text(encoding="utf-8", errors="replace").strip()
        return Done(command, time.monotonic() - began, code, text)

    def end_background(self) -> None:
        """End what was started with `&` and still runs."""
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGTERM)
        self._groups.clear()


def reader_environment(**more: str) -> Mapping[str, str]:
    """The environment of a person who has never used Surefoot."""
    usual = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {**usual, "COLUMNS": "160", "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", **more}
