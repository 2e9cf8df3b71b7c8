"""Keeps several front workers on one listening socket: starts them again, reloads them, and lets them go in peace.

The keeper answers nobody. When it is killed its workers serve on; the next keeper is given the listening socket by one
of them, so that no connection that waits is lost, and then they leave.
"""

import contextlib
import gc
import logging
import os
import signal
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

from surefoot.gateway.app import Gateway
from surefoot.gateway.board import Board
from surefoot.gateway.following import door_of
from surefoot.gateway.nursery import Nursery, Run
from surefoot.gateway.server import serve_on

_log = logging.getLogger(__name__)
_SIGNALS = {
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU
}  # fmt: skip
_HANDOVER_S = 3.0
STOP_S = 25.0
"""Longest that a worker may take to leave [s]."""
_BACK_OFF_S = 1.0
"""A worker that ended sooner than this after its start is started again only then [s]."""

Mask = set[int | signal.Signals]
Make = Callable[[Nursery], Gateway]


class Keeper:
    """The parent of the workers."""

    def __init__(self, root: Path, address: tuple[str, int], workers: int, make: Make, run: Run) -> None:
        """Know what to keep.

        Args:
            root: The gateway's state directory.
            address: Where to listen.
            workers: Front workers [count].
            make: Builds the application in a worker; its models' processes come from the nursery.
            run: Main function of a model's process.
        """
        self._board = Board(root)
        self._address = address
        self._wanted = workers
        self._make, self._run = make, run
        self._workers: dict[int, float] = {}  # process id -> when it was started
        self._leaving: set[int] = set()
        self._recent: list[float] = []  # when workers were started lately, whatever has become of them

    def keep(self) -> None:
        """Keep the workers until SIGTERM; SIGHUP reloads them one by one, SIGTTIN and SIGTTOU add and remove one."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        gc.collect()
        gc.freeze()  # a collection that walks over every imported library is a pause of 0.1 s, and copies their pages
        self._socket = self._listen()
        try:
            while True:
                self._fill(before)
                told = signal.sigtimedwait(_SIGNALS, 1.0)
                self._reap()
                number = None if told is None else told.si_signo
                if number in (signal.SIGTERM, signal.SIGINT):
                    return
                if number == signal.SIGHUP:
                    self._reload(before)
                elif number == signal.SIGTTIN:
                    self._wanted += 1
                elif number == signal.SIGTTOU and self._wanted > 1:
                    self._wanted -= 1
                    self._shrink()
        finally:
            self._stop()

    def _listen(self) -> socket.socket:
        """The socket that workers of an earlier keeper still serve, or else a new one."""
        orphans = list(self._board.living())
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(door_of(os.getpid()))
            door.listen()
            door.settimeout(_HANDOVER_S)
            self._board.keeper = os.getpid()
            if orphans:
                with contextlib.suppress(TimeoutError):
                    return self._handed_over(door)
        made = socket.create_server(self._address, backlog=2048, reuse_port=bool(orphans))
        made.setblocking(False)
        return made

    @staticmethod
    def _handed_over(door: socket.socket) -> socket.socket:
        while True:
            visitor, _ = door.accept()
            with visitor:
                uid = struct.unpack("3i", visitor.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
                if uid != os.getuid():
                    continue
                _, descriptors, _, _ = socket.recv_fds(visitor, 16, 1)
                if descriptors:
                    return socket.socket(fileno=descriptors[0])

    def _fill(self, mask: Mask) -> None:
        """Have as many workers as are wanted."""
        self._recent = [start for start in self._recent if time.monotonic() - start < _BACK_OFF_S]
        while len(self._workers.keys() - self._leaving) < self._wanted and len(self._recent) < 2 * self._wanted:
            self._start(mask)

    def _shrink(self) -> None:
        """Let go of the oldest worker, if there is one too many: one may just have ended by itself."""
        staying = sorted(self._workers.keys() - self._leaving, key=lambda pid: self._workers[pid])
        if len(staying) > self._wanted:
            self._let_go(staying[0])

    def _start(self, mask: Mask) -> int:
        keeper = os.getpid()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                nursery = Nursery(self._run, self._socket)
                serve_on(self._make(nursery), self._socket, keeper)
                code = 0
            except BaseException:
                _log.exception("a worker has ended")
                raise
            finally:
                os._exit(code)
        self._workers[pid] = time.monotonic()
        self._recent.append(self._workers[pid])
        return pid

    def _reap(self) -> None:
        """See who has ended."""
        for pid in list(self._workers):
            with contextlib.suppress(ChildProcessError):
                found, status = os.waitpid(pid, os.WNOHANG)
                if not found:
                    continue
                if pid not in self._leaving:
                    _log.critical("worker %d has ended (%d)", pid, os.waitstatus_to_exitcode(status))
            self._workers.pop(pid, None)
            self._leaving.discard(pid)

    def _let_go(self, pid: int) -> None:
        self._leaving.add(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)

    def _reload(self, mask: Mask) -> None:
        """Replace the workers one by one: a new one answers before an old one leaves, and without one none does."""
        for old in sorted(self._workers.keys() - self._leaving):
            fresh = self._start(mask)
            deadline = time.monotonic() + STOP_S
            while not (ready := self.answers(fresh)) and fresh in self._workers and time.monotonic() < deadline:
                time.sleep(0.02)
                self._reap()
            if not ready:
                _log.critical("not reloaded: the new worker %d does not answer", fresh)
                if fresh in self._workers:
                    self._let_go(fresh)
                return
            self._let_go(old)
            while old in self._workers and time.monotonic() < deadline:
                time.sleep(0.02)
                self._reap()

    def answers(self, pid: int) -> bool:
        """Whether a worker is as far as the others."""
        return any(self._board.process(slot) == pid for slot in self._board.abreast())

    def _stop(self) -> None:
        for pid in self._workers:
            self._let_go(pid)
        deadline = time.monotonic() + STOP_S
        while self._workers and time.monotonic() < deadline:
            time.sleep(0.02)
            self._reap()
        for pid in self._workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
