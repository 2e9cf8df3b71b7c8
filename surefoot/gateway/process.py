"""A model in a process of its own: what crashes, leaks or ends there does not touch the gateway."""

import contextlib
import os
import select
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence

from surefoot.gateway import frames
from surefoot.gateway.settings import Cost, Lost

START_S = 120.0
"""Longest that a model may take to load [s]."""
_ENDING_S = 2.0


class ProcessDied(Lost):
    """The process of a model is gone; whatever it was asked has no answer."""


class Remote(Exception):
    """The model raised in its process; the text is what it said there."""

    told = True


class ModelProcess:
    """Starts the process, waits until its model is loaded, and asks it.

    One thread at a time may ask; any thread may kill.

    Attributes:
        pid: Process id.
        cost: What the last batch took in the process, or None before the first.
    """

    def __init__(self, command: Sequence[str], failed: Callable[[str, str], Exception]) -> None:
        """Start it; return when its model is loaded.

        Args:
            command: Program and arguments; the number of an open socket is appended.
            failed: Makes an error of (kind, message) when the model cannot be loaded.

        Raises:
            ProcessDied: It ended before it had said anything, or was silent for START_S.
        """
        self._command, self._failed = tuple(command), failed
        self.cost: Cost | None = None
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                [*self._command, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C at the terminal is the gateway's to handle
            )
        self.pid = self._process.pid
        self._end = ours
        # What the model forks holds the other end open, so the end of the process itself is watched as well.
        self._watched = os.pidfd_open(self.pid)
        self._poll = select.poll()
        self._poll.register(ours, select.POLLIN)
        self._poll.register(self._watched, select.POLLIN)
        ours.settimeout(START_S)
        try:
            greeting = frames.receive(ours, self._until_heard)
        except (frames.Gone, TimeoutError) as error:
            raise self._death() from error
        ours.settimeout(None)
        if not isinstance(greeting, dict) or "error" in greeting:
            said = greeting if isinstance(greeting, dict) else {}
            self.close()
            raise failed(str(said.get("error", "")), str(said.get("message", greeting)))

    def predict(self, rows: list[dict[str, object]]) -> list[object]:
        """Ask for one answer a row; the process has checked that there are as many, and that each is one.

        Raises:
            Remote: The model raised.
            ProcessDied: The process is gone.
        """
        try:
            frames.send(self._end, rows)
            said = frames.receive(self._end, self._until_heard)
        except frames.Gone as error:
            raise self._death() from error
        if not isinstance(said, dict):
            raise self._death()
        if "error" in said:
            raise Remote(str(said["error"]))
        self.cost = Cost(float(said["cpu_ms"]), float(said["rss_mb"]))
        answers: list[object] = said["answers"]
        return answers

    def again(self) -> "ModelProcess":
        """Another process of the same model.

        Raises:
            ProcessDied: It ended before it had said anything.
        """
        return ModelProcess(self._command, self._failed)

    def kill(self) -> None:
        """End it at once; whoever waits for an answer hears of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # what the model has forked goes with it

    def close(self) -> None:
        """Let it end by itself, or else end it."""
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)
        self._release()
        try:
            self._process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self.kill()

    def _release(self) -> None:
        self._end.close()
        if self._watched >= 0:
            os.close(self._watched)
            self._watched = -1

    def _until_heard(self) -> None:
        """Wait until there is something to read, or the process has ended."""
        timeout = self._end.gettimeout()
        ready = dict(self._poll.poll(None if timeout is None else timeout * 1000.0))
        if not ready:
            raise TimeoutError
        if self._end.fileno() not in ready:
            raise frames.Gone("the process has ended")

    def _death(self) -> ProcessDied:
        """What became of it, with everything that is left of it cleared away."""
        self.kill()
        code = self._process.wait()
        self._release()
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        return ProcessDied(f"its process ended {how}")
