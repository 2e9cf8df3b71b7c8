"""Run the forkserver as a program, for a parent process with several threads.

Law: what the program forks ends with the program, and the program ends with the process that started it.
"""

import atexit
import contextlib
import gc
import os
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Sequence

import orjson

from surefoot.models.forking.forkserver import (
    LONGEST_MESSAGE,
    ForkserverClient,
    ForkserverGone,
    ProcessMain,
    read_started_pid,
    run_forked_process,
)

_START_S = 180.0
"""Longest that the program may take to import its libraries [s]."""
_ANSWER_S = 60.0
"""Longest that it may take to answer [s]; what it has forked ends with it, so it is given time on a busy host."""
_END_S = 2.0
"""Longest that the program may take to end [s]."""
_REAP = "reap"


class ForkedChild:
    """A process that the program has forked; the program waits for it.

    Attributes:
        pid: Process id.
    """

    def __init__(self, pid: int, server: ForkserverClient) -> None:
        """Take over a process that runs already."""
        self.pid = pid
        self._server = server
        self._code: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Returns:
            Its exit code, or minus the number of the signal that ended it; it is killed when the program ends.

        Raises:
            TimeoutExpired: It has not ended [s].
        """
        if self._code is None:
            self._wait_for_end(timeout)
            try:
                self._code = int(self._server.ask({_REAP: self.pid}))
            except ForkserverGone:
                self._code = -signal.SIGKILL
        return self._code

    def _wait_for_end(self, timeout: float | None) -> None:
        """Return when it has ended."""
        try:
            watched = os.pidfd_open(self.pid)
        except ProcessLookupError:  # the program has ended, and took it along
            return
        try:
            poll = select.poll()
            poll.register(watched, select.POLLIN)
            if not poll.poll(None if timeout is None else timeout * 1000.0):
                raise subprocess.TimeoutExpired(str(self.pid), float(timeout or 0.0))
        finally:
            os.close(watched)


class ForkserverProgram:
    """A forkserver that is started as a program when the first process is wanted."""

    def __init__(self, command: Sequence[str], **environment: str) -> None:
        """Start nothing yet.

        Args:
            command: The program, which calls `serve_forks` with the socket whose number is its last argument.
            environment: What the program's environment has unless this process's own says something else.
        """
        self._command, self._environment = list(command), environment
        self._lock = threading.Lock()
        self._server: ForkserverClient | None = None
        self._program: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._gone = ""

    def fork(self, arguments: Sequence[str], descriptor: int) -> ForkedChild:
        """Start a process that runs with these arguments and this socket.

        Raises:
            ForkserverGone: The program cannot be started, or does not answer.
        """
        server = self._running()
        return ForkedChild(int(server.ask(list(arguments), descriptor)), server)

    def start(self) -> None:
        """Start the program where it does not run yet. Raises ForkserverGone."""
        self._running()

    @property
    def pid(self) -> int:
        """Process id of the program; 0 before it was started."""
        return 0 if self._program is None else self._program.pid

    def _running(self) -> ForkserverClient:
        with self._lock:
            if self._owner != os.getpid():  # a process that was forked from the one that started it has its own
                self._owner, self._server, self._gone = os.getpid(), None, ""
            if self._gone:
                raise ForkserverGone(self._gone)
            if self._server is None:
                try:
                    self._server = self._start()
                except OSError as error:
                    self._gone = f"it does not start: {error}"
                    raise ForkserverGone(self._gone) from error
            return self._server

    def _start(self) -> ForkserverClient:
        """Start the program, and wait until it has imported its libraries; raises OSError."""
        end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._program = subprocess.Popen(  # noqa: S603 - the command is ours
                    [*self._command, str(theirs.fileno())],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    env={**self._environment, **os.environ},
                    start_new_session=True,  # a Ctrl-C at the terminal is for the process that started it
                )
            atexit.register(self.close)
            end.settimeout(_START_S)
            if not end.recv(1):
                raise ConnectionResetError("it has ended")
        except OSError:
            end.close()
            raise
        return ForkserverClient(end, self._program.pid, _ANSWER_S)

    def close(self) -> None:
        """End the program and all that it has forked."""
        with self._lock:
            if self._owner != os.getpid() or self._program is None:
                return
            self._gone = "it was closed"
            if self._server is not None:
                self._server.close()
            try:
                self._program.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._program.kill()
                self._program.wait()
        atexit.unregister(self.close)


def serve_forks(descriptor: int, run: ProcessMain) -> None:
    """Fork a process for each request, until the process that asks has ended.

    Args:
        descriptor: Number of the socket of the requests.
        run: What a forked process does with its arguments.
    """
    gc.collect()
    gc.freeze()  # what is shared with the forked processes stays shared
    server = os.getpid()
    with socket.socket(fileno=descriptor) as end, contextlib.suppress(ConnectionError):
        end.send(b"1")
        while True:
            body, descriptors, _, _ = socket.recv_fds(end, LONGEST_MESSAGE, 1)
            if not body:
                return
            request = orjson.loads(body)
            if isinstance(request, dict):
                _, status = os.waitpid(int(request[_REAP]), 0)
                end.send(str(os.waitstatus_to_exitcode(status)).encode())
                continue
            reading, writing = os.pipe()
            if os.fork() == 0:
                os.close(reading)
                run_forked_process(end, run, server, [*request, str(descriptors[0])], writing)
            os.close(descriptors[0])
            end.send(read_started_pid(reading, writing))
