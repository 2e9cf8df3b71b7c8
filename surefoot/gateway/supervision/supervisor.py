"""Supervise a gateway's worker processes, and restart those that ended.

The supervisor answers no request. When it is killed its workers serve on; the next supervisor is given the listening
socket by one of them, so that no waiting connection is lost, and then they leave.
"""

import contextlib
import faulthandler
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
from surefoot.gateway.control.handover import handover_address, peer_user_id
from surefoot.gateway.control.shared_routes import SharedRouteTable
from surefoot.gateway.http.app import Gateway
from surefoot.gateway.supervision.server import serve_socket
from surefoot.models.forking.forkserver import Forkserver, ProcessMain
from surefoot.tls_files import TlsFiles, make_server_context

_log = logging.getLogger(__name__)
_SIGNALS = {
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU
}  # fmt: skip
_HANDOVER_S = 10.0
"""How long workers of an earlier supervisor may take to hand their socket over [s]."""
WORKER_STOP_TIMEOUT_S = 25.0
"""Longest that a worker may take to leave, which is more than all of its own limits together; then it is killed [s]."""
_WRITE_STACKS = signal.SIGUSR2
"""A worker writes the stack of each of its threads to the gateway's log when it gets this signal."""
_LAST_WORDS_S = 2.0
"""How long a worker that hangs may take to write the stack of each of its threads before it is killed [s]."""
_READY_TIMEOUT_S = 60.0
"""How long a new worker may take to load every champion, and every version that is kept warm [s]."""
_BACK_OFF_S = 1.0
"""A worker that ended sooner than this after its start is started again only then [s]."""

_SignalMask = set[int | signal.Signals]
_MakeApp = Callable[[Forkserver], Gateway]


class Supervisor:
    """The parent process of the workers."""

    def __init__(
        self,
        root: Path,
        address: tuple[str, int],
        workers: int,
        make: _MakeApp,
        run: ProcessMain,
        tls: TlsFiles | None = None,
    ) -> None:
        """Start no worker yet.

        Args:
            root: The gateway's state directory.
            address: Where to listen.
            workers: Front workers [count].
            make: Builds the application in a worker; the processes of its models come from the forkserver.
            run: Main function of a model's process.
            tls: Certificate and key to serve with; None serves without TLS.
        """
        self._root = root
        self._route_table = SharedRouteTable(root)
        self._address = address
        self._wanted = workers
        self._make, self._run, self._tls = make, run, tls
        self._workers: dict[int, float] = {}  # process id -> when it was started
        self._leaving: dict[int, float] = {}  # process id -> when it is killed if it is still there
        self._told: set[int] = set()  # those that hang, and were told to write where
        self._replacing = 0  # workers of an earlier supervisor that leave when ours serve [count]
        self._recent: list[float] = []  # when workers were started lately, whatever has become of them

    def run(self) -> None:
        """Supervise the workers until SIGTERM; SIGHUP reloads them one by one, SIGTTIN and SIGTTOU add and remove one.

        Raises:
            Rejected: Another supervisor runs here, the address cannot be had, or the files of TLS cannot be used.
        """
        if self._tls is not None:
            make_server_context(self._tls)  # each worker makes its own, so that no model's process inherits the key
        with self._exclusive_lock():
            self._supervise()

    def _supervise(self) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        gc.collect()
        gc.freeze()  # a collection that walks over every imported library is a pause of 0.1 s, and copies their pages
        self._socket = self._listen()
        try:
            while True:
                self._fill(before)
                received = signal.sigtimedwait(_SIGNALS, 0.05 if self._replacing else 1.0)
                self._reap()
                self._stop_replaced()
                number = None if received is None else received.si_signo
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
    def _exclusive_lock(self) -> Iterator[None]:
        """Hold the lock of the only supervisor here: two would end each other's workers for ever."""
        with (self._root / "keeper.lock").open("wb") as held:
            try:
                fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, workers do not inherit it
            except OSError as error:
                raise Rejected(f"another supervisor runs in {self._root}: end that one first") from error
            yield

    def _listen(self) -> socket.socket:
        """Take over the socket that workers of an earlier supervisor still serve, or else open a new one."""
        others = self._foreign_workers()
        self._replacing = len(others)
        if others:
            last = self._route_table.supervisor
            try:
                return self._take_over_socket()
            except BaseException:
                self._route_table.supervisor = last  # they serve on as before
                raise
        self._route_table.supervisor = os.getpid()
        return self._bind()

    def _bind(self) -> socket.socket:
        try:
            made = socket.create_server(self._address, backlog=2048)
        except OSError as error:
            host, port = self._address
            named = ", ".join(map(str, sorted(self._foreign_workers())))
            whose = (
                f"workers {named}, which do not hand it over: end them"
                if named
                else "another program: name another address"
            )
            why = os.strerror(error.errno) if error.errno else str(error)
            raise Rejected(f"cannot listen at {host}:{port} ({why}); it may be held by {whose}") from error
        made.setblocking(False)
        return made

    def _take_over_socket(self) -> socket.socket:
        """Receive the socket from the other workers; open a new one when they have left meanwhile."""
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(handover_address(os.getpid()))
            door.listen()
            door.settimeout(1.0)
            self._route_table.supervisor = os.getpid()
            deadline = time.monotonic() + _HANDOVER_S
            while time.monotonic() < deadline and self._foreign_workers():
                with contextlib.suppress(TimeoutError, ConnectionError):  # a visitor that hangs or dies
                    handed = self._receive_socket(door)
                    self._check_address(handed)
                    return handed
        return self._bind()

    def _check_address(self, handed: socket.socket) -> None:
        """Refuse a socket of another address: callers of the wanted address would get no answer."""
        there = handed.getsockname()[:2]
        if there not in [found[4][:2] for found in socket.getaddrinfo(*self._address, type=socket.SOCK_STREAM)]:
            handed.close()
            host, port = self._address
            named = ", ".join(map(str, sorted(self._foreign_workers())))
            raise Rejected(
                f"workers {named} of an earlier supervisor in {self._root} listen at {there[0]}:{there[1]}, not at "
                f"{host}:{port}: ask for their address, or end them"
            )

    @staticmethod
    def _receive_socket(door: socket.socket) -> socket.socket:
        while True:
            visitor, _ = door.accept()
            with visitor:
                if peer_user_id(visitor) != os.getuid():
                    continue
                visitor.settimeout(1.0)
                _, descriptors, _, _ = socket.recv_fds(visitor, 16, 1)
                if descriptors:
                    return socket.socket(fileno=descriptors[0])

    def _foreign_workers(self) -> set[int]:
        """Living workers of other supervisors."""
        with self._route_table.lock():  # no worker takes a slot meanwhile, so each slot says truly whose it is
            return {
                self._route_table.worker_pid(slot) for slot in self._route_table.live_workers()
            } - self._workers.keys()

    def _stop_replaced(self) -> None:
        """Stop the workers of an earlier supervisor when enough of ours serve, and not before."""
        if not self._replacing:
            return
        ours = self._workers.keys() - self._leaving
        serving = ours & {self._route_table.worker_pid(slot) for slot in self._route_table.ready_workers()}
        if len(serving) >= min(self._wanted, self._replacing):
            self._replacing = 0
            for pid in self._foreign_workers():
                self._terminate(pid)

    def _fill(self, mask: _SignalMask) -> None:
        """Start workers until there are as many as are wanted."""
        self._recent = [start for start in self._recent if time.monotonic() - start < _BACK_OFF_S]
        while len(self._workers.keys() - self._leaving) < self._wanted and len(self._recent) < 2 * self._wanted:
            self._start(mask)

    def _shrink(self) -> None:
        """Stop the oldest worker, if there is one too many: one may just have ended by itself."""
        staying = sorted(self._workers.keys() - self._leaving, key=lambda pid: self._workers[pid])
        if len(staying) > self._wanted:
            self._terminate(staying[0])

    def _start(self, mask: _SignalMask) -> int:
        supervisor = os.getpid()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                faulthandler.register(_WRITE_STACKS)
                forkserver = Forkserver(self._run, self._socket)
                serve_socket(self._make(forkserver), self._socket, supervisor, self._tls)
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
        """Reap workers that have ended, and kill those that should have left long ago."""
        for pid in list(self._workers):
            with contextlib.suppress(ChildProcessError):
                found, status = os.waitpid(pid, os.WNOHANG)
                if not found:
                    continue
                if pid not in self._leaving:
                    _log.critical("worker %d has ended (%d)", pid, os.waitstatus_to_exitcode(status))
            self._workers.pop(pid, None)
            self._leaving.pop(pid, None)
            self._told.discard(pid)
        foreign = self._leaving.keys() - self._workers.keys()
        for pid in foreign - self._foreign_workers() if foreign else ():
            del self._leaving[pid]
            self._told.discard(pid)
        for pid, until in self._leaving.items():
            if time.monotonic() > until:
                told = pid in self._told
                how = "is killed" if told else "is told to write where its threads are"
                _log.critical("worker %d has not left within %.0f s and %s", pid, WORKER_STOP_TIMEOUT_S, how)
                self._leaving[pid] = math.inf if told else time.monotonic() + _LAST_WORDS_S
                self._told.add(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if told else _WRITE_STACKS)

    def _terminate(self, pid: int) -> None:
        self._leaving.setdefault(pid, time.monotonic() + WORKER_STOP_TIMEOUT_S)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)

    def _reload(self, mask: _SignalMask) -> None:
        """Replace the workers one by one: a new one answers before an old one leaves, and without one none does."""
        for old in sorted(self._workers.keys() - self._leaving):
            fresh = self._start(mask)
            deadline = time.monotonic() + _READY_TIMEOUT_S
            while not (ready := self.is_ready(fresh)) and fresh in self._workers and time.monotonic() < deadline:
                time.sleep(0.02)
                self._reap()
            if not ready:
                _log.critical("not reloaded: the new worker %d does not answer", fresh)
                if fresh in self._workers:
                    self._terminate(fresh)
                return
            self._terminate(old)
            while old in self._workers:
                time.sleep(0.02)
                self._reap()

    def is_ready(self, pid: int) -> bool:
        """Whether a worker has acknowledged everything, serves every model, and can go back to every warm version."""
        return any(self._route_table.worker_pid(slot) == pid for slot in self._route_table.ready_workers())

    def _stop(self) -> None:
        for pid in self._workers:
            self._terminate(pid)
        while self._workers:
            time.sleep(0.02)
            self._reap()
