"""A model in a process of its own: what crashes, leaks or ends there does not touch the gateway."""

import asyncio
import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, cast

import orjson

from surefoot.models import frames
from surefoot.models.answers import check_count
from surefoot.models.contract import NO_OPTIONS, AnswerCost, Names, PredictorLost, RequestOptions, RowChecks
from surefoot.models.forkserver import Forkserver, ForkserverGone
from surefoot.models.row_independence import IndependenceProof, RowIndependence
from surefoot.models.threads import in_thread

_log = logging.getLogger(__name__)
START_S = 120.0
"""Longest that a model may take to load [s]."""
PROOF_S = 10.0
"""Longest that it may then take to show that it answers each row by itself [s]."""
_ENDING_S = 2.0
_TICK_S = 0.1
# A process ends with the thread that started it (PR_SET_PDEATHSIG), so all are started by one that stays.
_STARTER = ThreadPoolExecutor(1, thread_name_prefix="starter")


class ProcessDied(PredictorLost):
    """The process of a model is gone; whatever it was asked has no answer."""


class RemoteModelError(Exception):
    """The model raised in its process; the text is what it said there."""

    told = True


class StartedProcess(Protocol):
    """A process of ours that has been started, as the leader of its own session."""

    @property
    def pid(self) -> int:
        """Process id."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; its code, negative for a signal. Raises subprocess.TimeoutExpired."""
        ...


Start = Callable[[int], StartedProcess]
"""Starts the process of a model, given the number of a socket that is to be open in it."""


def spawn_process(command: Sequence[str]) -> Start:
    """Starts a program; the number of the socket is its last argument."""

    def start(descriptor: int) -> StartedProcess:
        return subprocess.Popen(  # noqa: S603 - the command is ours
            [*command, str(descriptor)],
            pass_fds=(descriptor,),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C at the terminal is the gateway's to handle
        )

    return start


def fork_process(forkserver: Forkserver, arguments: Sequence[str], otherwise: Start) -> Start:
    """Forks from a nursery, which takes a tenth of the time; starts the program when there is no nursery any more."""

    def start(descriptor: int) -> StartedProcess:
        try:
            return forkserver.fork(arguments, descriptor)
        except ForkserverGone as error:
            _log.error("the nursery is gone (%s): processes start slowly", error)
            return otherwise(descriptor)

    return start


class ModelProcess:
    """Starts the process, waits until its model is loaded, and asks it.

    Attributes:
        pid: Process id.
        joins: Whether rows of different requests may be predicted together.
        proof: Why they may or may not be, as the process knows by now.
        checks: How often it has asked rows again alone.
        cost: What the last batch took in the process, or None before the first.
    """

    def __init__(
        self,
        start: "Start",
        failed: Callable[[str, str], Exception],
        cancelled: threading.Event | None = None,
        *,
        prove: bool = True,
        known: IndependenceProof | None = None,
    ) -> None:
        """Start it; return when its model is loaded.

        Args:
            start: Starts it, given the number of its socket.
            failed: Makes an error of (kind, message) when the model cannot be loaded.
            cancelled: Once it is set the process is not needed any more, and is killed.
            prove: Whether the model is to show at once that it answers each row by itself; one that ends or hangs
                meanwhile is started again without, and so is one that keeps state, which the probes have changed.
            known: What an earlier process has shown; nothing is to be shown again then.

        Raises:
            ProcessDied: It ended before it had said anything, or was silent for START_S, or was cancelled.
        """
        self._start, self._failed, self._prove, self._given = start, failed, prove and known is None, known
        self.cost: AnswerCost | None = None
        self.proof, self.checks, self._proves = IndependenceProof(RowIndependence.UNPROVEN), RowChecks(), False
        self._line: _Connection | None = None
        try:
            greeting = self._launched(cancelled)
        except ProcessDied:
            if not self._proves:
                raise
            self._prove = self._proves = False
            greeting = self._launched(cancelled)
        if not isinstance(greeting, dict) or "error" in greeting:
            said = greeting if isinstance(greeting, dict) else {}
            self.close()
            raise failed(str(said.get("error", "")), str(said.get("message", greeting)))
        self._learn(greeting)
        if self._prove and self.proof.batching is RowIndependence.NOT_REPEATABLE:
            self._prove, self._given = False, self.proof
            self.close()
            self._learn(cast("dict[str, Any]", self._launched(cancelled)))

    def _launched(self, cancelled: threading.Event | None) -> object:
        """Start the process and wait for its greeting; raises ProcessDied."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = _STARTER.submit(self._start, theirs.fileno()).result()
        self.pid = self._process.pid
        self._end = ours
        # What the model forks holds the other end open, so the end of the process itself is watched as well.
        self._watched = os.pidfd_open(self.pid)
        try:
            known = None if self._given is None else [self._given.batching.value, self._given.why]
            frames.send(ours, {"prove": self._prove, "known": known})
            greeting = self._heard(START_S, cancelled)
            if isinstance(greeting, dict) and "loaded" in greeting:
                self._proves = True
                greeting = self._heard(PROOF_S, cancelled)
                self._proves = False
        except frames.PeerClosed as error:
            raise self._death() from error
        return greeting

    def _heard(self, patience: float, cancelled: threading.Event | None = None) -> object:
        """One message of the process; raises `Gone` when it ends, or is silent for so long [s], or is cancelled."""
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        poll.register(self._watched, select.POLLIN)
        deadline = time.monotonic() + patience

        def until_heard() -> None:
            while not (ready := dict(poll.poll(_TICK_S * 1000.0))):
                if time.monotonic() > deadline or (cancelled is not None and cancelled.is_set()):
                    raise frames.PeerSilent("nobody waits for it any longer")
            if self._end.fileno() not in ready:
                raise frames.PeerClosed("the process has ended")

        return frames.receive(self._end, until_heard)

    def _learn(self, said: dict[str, Any]) -> None:
        """Take over what the process says of its model's rows."""
        if "proof" in said:
            told = said["proof"]
            batching = RowIndependence(str(told["batching"]))
            self.proof = IndependenceProof(
                batching, str(told["why"]), None, int(told["answered"]), str(told["problem"])
            )
            self.checks = RowChecks(int(said["checked"]), int(said["differed"]))
            self._proves = bool(said["proves"])

    @property
    def batchable(self) -> bool:
        """Whether rows of different requests may be predicted together."""
        return self.proof.row_wise

    async def ask(self, names: Names, values: list[list[object]], options: RequestOptions = NO_OPTIONS) -> list[object]:
        """Ask for one answer a row; the process has checked that each is one.

        Raises:
            Remote: The model raised.
            ProcessDied: The process is gone.
        """
        try:
            if self._line is None:
                self._line = await _Connection.on(self._end, self._watched)
            told = () if options == NO_OPTIONS else options.told()
            body = await self._line.ask(orjson.dumps((names, values, *told)))
            said = orjson.loads(body)
        except (frames.PeerClosed, orjson.JSONDecodeError, OSError) as error:
            raise await self._dies() from error
        if not isinstance(said, dict):
            raise await self._dies()
        if "error" in said:
            raise RemoteModelError(str(said["error"]))
        self.cost = AnswerCost(float(said["cpu_ms"]), float(said["rss_mb"]))
        self._learn(said)
        return check_count(said["answers"], len(values))

    def put(self, verb: str, arguments: list[object], patience: float) -> object:
        """Ask a question that is no batch, and wait for what it says; not for a process that an event loop asks.

        Args:
            verb: One of `surefoot.models.host.VERBS`.
            arguments: As the verb wants them.
            patience: A process that is silent for longer is ended [s].

        Raises:
            Remote: The model raised.
            ProcessDied: The process has ended, or was ended.
        """
        try:
            frames.send(self._end, {"verb": verb, "arguments": arguments})
            said = self._heard(patience)
        except frames.PeerSilent as error:
            self._death()
            raise ProcessDied(f"it gave no answer within {patience:.0f} s") from error
        except frames.PeerClosed as error:
            raise self._death() from error
        if not isinstance(said, dict) or "error" in said:
            raise RemoteModelError(str(said["error"] if isinstance(said, dict) else said))
        return said["value"]

    def spawn_replica(self, cancelled: threading.Event) -> "ModelProcess":
        """Another process of the same model.

        Raises:
            ProcessDied: It ended before it had said anything, or was cancelled.
        """
        # One that ended while rows were asked together to prove it is not asked so again.
        return ModelProcess(
            self._start, self._failed, cancelled, prove=self._prove and not self._proves, known=self._given
        )

    def kill(self) -> None:
        """End it at once; whoever waits for an answer hears of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # what the model has forked goes with it

    def close(self) -> None:
        """Let it end by itself, or else end it."""
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(_ENDING_S)
        except (subprocess.TimeoutExpired, OSError):  # without a free descriptor nobody can wait for so long
            self.kill()
            self._process.wait()
        self.kill()
        self._release()

    def _release(self) -> None:
        if self._line is not None:
            self._line.let_go()  # before the descriptors are closed that its loop looks at
            self._line = None
        self._end.close()
        if self._watched >= 0:
            os.close(self._watched)
            self._watched = -1

    async def _dies(self) -> ProcessDied:
        """The same for the event loop, which cannot wait: who stands behind all others ends behind them too."""
        self.kill()
        await in_thread(self._process.wait)
        return self._death()

    def _death(self) -> ProcessDied:
        """What became of it, with everything that is left of it cleared away."""
        self.kill()
        code = self._process.wait()
        self._release()
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        return ProcessDied(f"its process ended {how}")


class _Connection(asyncio.Protocol):
    """The event loop's side of the socket: one question, one answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, end: socket.socket, watched: int) -> None:
        self._loop, self._end, self._watched = loop, end, watched
        self._heard = bytearray()
        self._answer: asyncio.Future[bytes] | None = None
        self._gone = False
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def on(cls, end: socket.socket, watched: int) -> "_Connection":
        """Take over a connected socket; `watched` is readable when the other process has ended."""
        loop = asyncio.get_running_loop()
        end.setblocking(False)
        line = cls(loop, end, watched)
        await loop.create_connection(lambda: line, sock=end.dup())
        # One round of the loop later: an answer that was given just before the end is read first.
        loop.add_reader(watched, lambda: loop.call_soon(line.hang_up))
        return line

    async def ask(self, body: bytes) -> bytes:
        """Send a message and wait for the one that comes back.

        Raises:
            Gone: The other side has closed, or its process has ended.
        """
        if self._gone or self._transport is None:
            raise frames.PeerClosed("it has closed")
        self._answer = self._loop.create_future()
        message = frames.frame_header(len(body)) + body
        # At once, not when the loop comes round to it: nothing is being written, for there is one question at a time.
        with contextlib.suppress(BlockingIOError):
            message = message[self._end.send(message) :]
        if message:
            self._transport.write(message)
        try:
            return await self._answer
        finally:
            self._answer = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what is written to."""
        self._transport = cast("asyncio.Transport", transport)  # a socket's transport can write

    def data_received(self, data: bytes) -> None:
        """Collect a message; hand it over when it is whole."""
        self._heard += data
        if (whole := frames.complete_frame(self._heard)) is None:
            return
        self._heard.clear()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(whole)

    def connection_lost(self, _error: Exception | None) -> None:
        """The other side has closed."""
        self.hang_up()

    def let_go(self) -> None:
        """Hang up from any thread: an event loop must not be touched but by its own."""
        with contextlib.suppress(RuntimeError):  # no loop runs in this thread
            if asyncio.get_running_loop() is self._loop:
                self.hang_up()
                return
        done = threading.Event()

        def on_loop() -> None:
            self.hang_up()
            done.set()

        with contextlib.suppress(RuntimeError):  # the loop is closed, and looks at nothing any more
            self._loop.call_soon_threadsafe(on_loop)
            done.wait(_ENDING_S)

    def hang_up(self) -> None:
        """Nothing more will be heard; whoever waits is told."""
        if self._gone:
            return
        self._gone = True
        with contextlib.suppress(RuntimeError, ValueError, OSError):  # the loop or the descriptor may be closed
            self._loop.remove_reader(self._watched)
        if self._transport is not None:
            with contextlib.suppress(RuntimeError):
                self._transport.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(frames.PeerClosed("the process has ended"))
