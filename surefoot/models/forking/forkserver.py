"""Fork model processes from a forkserver that has imported all libraries.

Law: the forkserver has one thread and is forked before its worker starts any, so no lock is copied in a locked state.
What it forks is a child of the worker: the worker waits for it, kills it, and it ends when the worker ends.
"""

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

import orjson

ProcessMain = Callable[[Sequence[str]], None]
"""The main function of a model's process, given its arguments; the last one is the number of its socket."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
LONGEST_MESSAGE = 1 << 16
"""Longest request or answer [bytes]."""
_ANSWER_S = 5.0


class ForkserverGone(Exception):
    """The forkserver does not answer; a process has to be started as a new program."""


class ChildProcess:
    """A process that the forkserver has forked; a child of this process.

    Attributes:
        pid: Process id.
    """

    def __init__(self, pid: int) -> None:
        """Take over a process that runs already."""
        self.pid = pid
        self._code: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Returns:
            Its exit code, or minus the number of the signal that ended it.

        Raises:
            TimeoutExpired: It has not ended [s].
        """
        if self._code is None:
            if timeout is not None:
                self._wait_for_end(timeout)
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code

    def _wait_for_end(self, timeout: float) -> None:
        """Return when it has ended; needs a free descriptor."""
        watched = os.pidfd_open(self.pid)
        try:
            poll = select.poll()  # select knows no descriptor above 1023, and each caller has one
            poll.register(watched, select.POLLIN)
            if not poll.poll(timeout * 1000.0):
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
        finally:
            os.close(watched)


class ForkserverClient:
    """Asks a running forkserver for processes, one at a time.

    Attributes:
        pid: Process id of the forkserver, a child of this process.
    """

    def __init__(self, end: socket.socket, pid: int, answer_s: float = _ANSWER_S) -> None:
        """Ask over this socket, and wait so long for an answer [s]."""
        self._end, self.pid = end, pid
        self._lock = threading.Lock()
        self._gone = ""
        end.settimeout(answer_s)

    def close(self) -> None:
        """Close the socket, which ends the forkserver; the process that started it waits for its end."""
        with self._lock:
            if not self._gone:
                self._gone = "it was closed"
                self._end.close()

    def fork(self, arguments: Sequence[str], descriptor: int) -> ChildProcess:
        """Start a process that runs with these arguments and this socket.

        Raises:
            ForkserverGone: It does not answer; it is killed, so that no late answer is taken for the next one.
        """
        return ChildProcess(int(self.ask(list(arguments), descriptor)))

    def ask(self, request: object, *descriptors: int) -> bytes:
        """Send one request with the descriptors that belong to it, and wait for its answer; raises ForkserverGone."""
        with self._lock:
            if self._gone:
                raise ForkserverGone(self._gone)
            try:
                socket.send_fds(self._end, [orjson.dumps(request)], descriptors)
                said = self._end.recv(LONGEST_MESSAGE)
            except OSError as error:
                self._kill(str(error))
                raise ForkserverGone(self._gone) from error
            if not said:
                self._kill("it has ended")
                raise ForkserverGone(self._gone)
        return said

    def _kill(self, why: str) -> None:
        self._gone = why
        self._end.close()
        os.kill(self.pid, signal.SIGKILL)  # only this process waits for it, so this is still its process id
        os.waitpid(self.pid, 0)


class Forkserver(ForkserverClient):
    """A forkserver that is forked from its worker; what it forks are children of the worker."""

    def __init__(self, run: ProcessMain, *shut: socket.socket) -> None:
        """Fork the forkserver; call this while the process has one thread.

        Args:
            run: What a forked process does with its arguments.
            shut: Sockets that it closes.
        """
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)  # a forked process becomes our child when its parent ends
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        worker = os.getpid()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for end in (ours, *shut):
                    end.close()
                libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                _serve(theirs, run, worker)
                code = 0
            finally:
                os._exit(code)
        theirs.close()
        super().__init__(ours, pid)


def _serve(end: socket.socket, run: ProcessMain, worker: int) -> None:
    """Fork a process for each request of the worker."""
    while True:
        body, descriptors, _, _ = socket.recv_fds(end, LONGEST_MESSAGE, 1)
        if not body:
            return
        reading, writing = os.pipe()
        between = os.fork()
        if between == 0:
            try:
                # The grandchild belongs to the worker once this process has gone.
                if os.fork() == 0:
                    run_forked_process(end, run, worker, [*orjson.loads(body), str(descriptors[0])], writing)
            finally:
                os._exit(0)
        os.waitpid(between, 0)
        os.close(descriptors[0])
        end.send(read_started_pid(reading, writing))


def read_started_pid(reading: int, writing: int) -> bytes:
    """Read the process id that a forked process writes once it leads its own session; empty where none was forked."""
    os.close(writing)
    pid = os.read(reading, 32)
    os.close(reading)
    return pid


def run_forked_process(
    end: socket.socket, run: ProcessMain, parent: int, arguments: list[str], writing: int
) -> NoReturn:
    """Run as the process of a model, once it is a child of the process that it is to end with.

    Args:
        end: The socket of the forkserver, which is closed here.
        run: What it does with its arguments.
        parent: Process id of the process that it ends with.
        arguments: Of this process.
        writing: Where it writes its process id, once a signal to its process group reaches it.
    """
    code = 1
    try:
        end.close()
        os.setsid()
        os.write(writing, str(os.getpid()).encode())
        os.close(writing)
        deadline = time.monotonic() + _ANSWER_S
        while os.getppid() != parent and time.monotonic() < deadline:
            time.sleep(0.001)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:  # else the parent has ended meanwhile, and this process would outlive it
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            run(arguments)
            code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    finally:
        with contextlib.suppress(Exception):
            _flush()
        os._exit(code)


def _flush() -> None:
    import sys  # noqa: PLC0415 - only what the model has printed

    sys.stdout.flush()
    sys.stderr.flush()
