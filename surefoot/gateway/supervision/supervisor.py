"""Keeps several front workers on one listening socket: starts them again, reloads them, and lets them go in peace.

The keeper answers nobody. When it is killed its workers serve on; the next keeper is given the listening socket by one
of them, so that no connection that waits is lost, and then they leave.
"""

import contextlib
import fcntl
import gc
import logging
import math
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from surefoot.core.errors import Rejected
from surefoot.gateway.control.handover import handover_address, peer_user
from surefoot.gateway.control.shared_routes import SharedRouteTable
from surefoot.gateway.http.app import Gateway
from surefoot.gateway.supervision.server import serve_socket
from surefoot.models.forkserver import Forkserver, Run

_log = logging.getLogger(__name__)
_SIGNALS = {
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU
}  # fmt: skip
_HANDOVER_S = 10.0
"""How long workers of an earlier keeper may take to hand their socket over [s]."""
STOP_S = 25.0
"""Longest that a worker may take to leave, which is more than all of its own limits together; then it is killed [s]."""
_BACK_OFF_S = 1.0
"""A worker that ended sooner than this after its start is started again only then [s]."""

Mask = set[int | signal.Signals]
Make = Callable[[Forkserver], Gateway]


class Supervisor:
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
        self._root = root
        self._route_table = SharedRouteTable(root)
        self._address = address
        self._wanted = workers
        self._make, self._run = make, run
        self._workers: dict[int, float] = {}  # process id -> when it was started
        self._leaving: dict[int, float] = {}  # process id -> when it is killed if it is still there
        self._relieving = 0  # workers of an earlier keeper that are to leave when ours serve [count]
        self._recent: list[float] = []  # when workers were started lately, whatever has become of them

    def keep(self) -> None:
        """Keep the workers until SIGTERM; SIGHUP reloads them one by one, SIGTTIN and SIGTTOU add and remove one.

        Raises:
            Rejected: Another keeper is at work here, or the address cannot be had.
        """
        with self._alone():
            self._keep()

    def _keep(self) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        gc.collect()
        gc.freeze()  # a collection that walks over every imported library is a pause of 0.1 s, and copies their pages
        self._socket = self._listen()
        try:
            while True:
                self._fill(before)
                told = signal.sigtimedwait(_SIGNALS, 0.05 if self._relieving else 1.0)
                self._reap()
                self._relieve()
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

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only keeper here: two would end each other's workers for ever."""
        with (self._root / "keeper.lock").open("wb") as held:
            try:
                fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, workers do not inherit it
            except OSError as error:
                raise Rejected(f"another keeper is at work in {self._root}: end that one first") from error
            yield

    def _listen(self) -> socket.socket:
        """The socket that workers of an earlier keeper still serve, or else a new one."""
        others = self._others()
        self._relieving = len(others)
        if others:
            last = self._route_table.supervisor
            try:
                return self._taken_over()
            except BaseException:
                self._route_table.supervisor = last  # they serve on as if nobody had come
                raise
        self._route_table.supervisor = os.getpid()
        return self._bound()

    def _bound(self) -> socket.socket:
        try:
            made = socket.create_server(self._address, backlog=2048)
        except OSError as error:
            host, port = self._address
            named = ", ".join(map(str, sorted(self._others())))
            whose = f"workers {named}, which hand it to nobody: end them" if named else "somebody else: name another"
            why = os.strerror(error.errno) if error.errno else str(error)
            raise Rejected(f"cannot listen at {host}:{port} ({why}); it may be held by {whose}") from error
        made.setblocking(False)
        return made

    def _taken_over(self) -> socket.socket:
        """The socket that the others hand over; a new one when they have left meanwhile, or do not listen here."""
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(handover_address(os.getpid()))
            door.listen()
            door.settimeout(1.0)
            self._route_table.supervisor = os.getpid()
            deadline = time.monotonic() + _HANDOVER_S
            while time.monotonic() < deadline and self._others():
                with contextlib.suppress(TimeoutError, ConnectionError):  # a visitor that hangs or dies
                    handed = self._handed_over(door)
                    self._check(handed)
                    return handed
        return self._bound()

    def _check(self, handed: socket.socket) -> None:
        """Refuse a socket that listens elsewhere: who asked for this address would wait there for ever."""
        there = handed.getsockname()[:2]
        if there not in [found[4][:2] for found in socket.getaddrinfo(*self._address, type=socket.SOCK_STREAM)]:
            handed.close()
            host, port = self._address
            named = ", ".join(map(str, sorted(self._others())))
            raise Rejected(
                f"workers {named} of an earlier keeper in {self._root} listen at {there[0]}:{there[1]}, not at "
                f"{host}:{port}: ask for their address, or end them"
            )

    @staticmethod
    def _handed_over(door: socket.socket) -> socket.socket:
        while True:
            visitor, _ = door.accept()
            with visitor:
                if peer_user(visitor) != os.getuid():
                    continue
                visitor.settimeout(1.0)
                _, descriptors, _, _ = socket.recv_fds(visitor, 16, 1)
                if descriptors:
                    return socket.socket(fileno=descriptors[0])

    def _others(self) -> set[int]:
        """Living workers that are not ours."""
        with self._route_table.lock():  # nobody takes a place meanwhile, so each place says truly whose it is
            return {
                self._route_table.worker_pid(slot) for slot in self._route_table.live_workers()
            } - self._workers.keys()

    def _relieve(self) -> None:
        """See that the workers of an earlier keeper leave when enough of ours serve, and not before."""
        if not self._relieving:
            return
        ours = self._workers.keys() - self._leaving
        serving = ours & {self._route_table.worker_pid(slot) for slot in self._route_table.ready_workers()}
        if len(serving) >= min(self._wanted, self._relieving):
            self._relieving = 0
            for pid in self._others():
                self._let_go(pid)

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
        supervisor = os.getpid()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                forkserver = Forkserver(self._run, self._socket)
                serve_socket(self._make(forkserver), self._socket, supervisor)
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
        """See who has ended, and end who should have left long ago."""
        for pid in list(self._workers):
            with contextlib.suppress(ChildProcessError):
                found, status = os.waitpid(pid, os.WNOHANG)
                if not found:
                    continue
                if pid not in self._leaving:
                    _log.critical("worker %d has ended (%d)", pid, os.waitstatus_to_exitcode(status))
            self._workers.pop(pid, None)
            self._leaving.pop(pid, None)
        strangers = self._leaving.keys() - self._workers.keys()
        for pid in strangers - self._others() if strangers else ():
            del self._leaving[pid]
        for pid, until in self._leaving.items():
            if time.monotonic() > until:
                _log.critical("worker %d has not left within %.0f s and is killed", pid, STOP_S)
                self._leaving[pid] = math.inf
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _let_go(self, pid: int) -> None:
        self._leaving.setdefault(pid, time.monotonic() + STOP_S)
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
            while old in self._workers:
                time.sleep(0.02)
                self._reap()

    def answers(self, pid: int) -> bool:
        """Whether a worker is as far as the others."""
        return any(self._route_table.worker_pid(slot) == pid for slot in self._route_table.ready_workers())

    def _stop(self) -> None:
        for pid in self._workers:
            self._let_go(pid)
        while self._workers:
            time.sleep(0.02)
            self._reap()
