"""Start the forkserver for Prefect flow runs, and restart it when it has died."""

import logging
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from surefoot.controller.forked_run import WHEN_IDLE_ARGUMENT

_PAUSE_S = 60.0
_LONGEST_PAUSE_S = 3600.0
"""How long to wait before a forkserver that has ended is started again [s]: twice as long each time."""

_log = logging.getLogger(__name__)


@dataclass
class FlowForkserver:
    """The forkserver that processes of flow runs are forked from; runs need none, they only start faster.

    Attributes:
        project: Folder in which the modules are found.
        modules: What is imported.
        when_idle: What is imported later, once no run has been asked for.
    """

    project: Path
    modules: tuple[str, ...]
    when_idle: tuple[str, ...] = ()
    _server: "subprocess.Popen[bytes] | None" = None
    _again: float = 0.0
    _pause: float = _PAUSE_S

    def ensure(self) -> None:
        """Start the forkserver where it does not run; it ends with this process, whose pipe it reads."""
        if self._server is not None and self._server.poll() is None:
            return
        now = time.monotonic()
        if now < self._again:
            return
        if self._server is not None:
            _log.warning(
                "the forkserver of the flows has ended (exit code %s): it is started again", self._server.returncode
            )
            if self._server.stdin is not None:
                self._server.stdin.close()
            self._pause = min(2.0 * self._pause, _LONGEST_PAUSE_S)
        self._again = now + self._pause
        command = [sys.executable, "-m", "surefoot.controller.flow_forkserver_program"]
        command += [*self.modules, WHEN_IDLE_ARGUMENT, *self.when_idle]
        # Models that runs fork have as many threads as their libraries were told when this process imported them.
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=self.project, env=environment)  # noqa: S603 - ours
