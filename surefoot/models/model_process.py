"""Start a model in its own process, spawned or forked, so that its crash does not end the gateway."""

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

from surefoot.core.errors import ArtifactTampered, NotFound, Rejected, SurefootError
from surefoot.models import process_messages
from surefoot.models.blocking_calls import run_in_daemon_thread
from surefoot.models.forking.forkserver import ForkserverGone
from surefoot.models.model_connection import ModelConnection
from surefoot.models.model_protocols import (
    NO_OPTIONS,
    AnswerCost,
    BatchRecheckCounts,
    ColumnNames,
    PredictorLost,
    RequestOptions,
)
from surefoot.models.rows.answer_checks import check_answer_count
from surefoot.models.rows.independence import IndependenceResult, RowIndependence

_log = logging.getLogger(__name__)
_LOAD_TIMEOUT_S = 120.0
"""Longest that a model may take to load [s]."""
_PROOF_TIMEOUT_S = 10.0
"""Longest that it may then take to show that it answers each row by itself [s]."""
_ENDING_S = 2.0
_TICK_S = 0.1
# A process ends with the thread that started it (PR_SET_PDEATHSIG), so all are started by one that stays.
_STARTER = ThreadPoolExecutor(1, thread_name_prefix="starter")


class ProcessDied(PredictorLost):
    """The process of a model is gone; whatever it was asked has no answer."""


class RemoteModelError(Exception):
    """The model raised in its process; the text is what it said there."""

    described = True


class StartedProcess(Protocol):
    """A process of ours that has been started, as the leader of its own session."""

    @property
    def pid(self) -> int:
        """Process id."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; its code, negative for a signal. Raises subprocess.TimeoutExpired."""
        ...


StartProcess = Callable[[int], StartedProcess]
"""Starts the process of a model, given the number of a socket that is to be open in it."""


def spawn_process(command: Sequence[str]) -> StartProcess:
    """Give a start function that runs a program; the number of the socket is its last argument."""

    def start(descriptor: int) -> StartedProcess:
        return subprocess.Popen(  # noqa: S603 - the command is ours
            [*command, str(descriptor)],
            pass_fds=(descriptor,),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C at the terminal is the gateway's to handle
        )

    return start


class ProcessForker(Protocol):
    """A forkserver."""

    def fork(self, arguments: Sequence[str], descriptor: int) -> StartedProcess:
        """Start a process that runs with these arguments and this socket. Raises ForkserverGone."""
        ...


def fork_process(forkserver: ProcessForker, arguments: Sequence[str], otherwise: StartProcess) -> StartProcess:
    """Give a start function that forks, which takes a tenth of the time; without a forkserver it runs the program."""

    def start(descriptor: int) -> StartedProcess:
        try:
            return forkserver.fork(arguments, descriptor)
        except ForkserverGone as error:
            _log.error("the forkserver is gone (%s): processes start slowly", error)
            return otherwise(descriptor)

    return start


class ModelProcess:
    """A model in a process of its own, loaded and ready to be asked.

    Attributes:
        pid: Process id.
        batchable: Whether rows of different requests may be predicted together.
        independence: Why they may or may not be, as the process knows by now.
        checks: How often it has asked rows again alone.
        cost: What the last batch took in the process, or None before the first.
        probe_deaths: Ends of earlier processes while they were to show that they answer each row by itself, before
            this one took their place [count].
    """

    def __init__(
        self,
        start: StartProcess,
        cancelled: threading.Event | None = None,
        *,
        probe: bool = True,
        known: IndependenceResult | None = None,
    ) -> None:
        """Start the process; return when its model is loaded.

        Args:
            start: Starts it, given the number of its socket.
            cancelled: Once it is set the process is not needed any more, and is killed.
            probe: Whether the model is to show at once that it answers each row by itself; one that ends or hangs
                meanwhile is started again without, and so is one that keeps state, which the probes have changed.
            known: What an earlier process has shown; nothing is to be shown again then.

        Raises:
            ProcessDied: It ended before it had said anything, or was silent for _LOAD_TIMEOUT_S, or was cancelled.
            Rejected: The model cannot be loaded; ArtifactTampered or NotFound where the process says so.
        """
        self._start, self._probe, self._given = start, probe and known is None, known
        self.cost: AnswerCost | None = None
        self.probe_deaths = 0
        self.independence, self.checks, self._probing = (
            IndependenceResult(RowIndependence.UNPROVEN),
            BatchRecheckCounts(),
            False,
        )
        self._connection: ModelConnection | None = None
        try:
            greeting = self._launch(cancelled)
        except ProcessDied:
            if not self._probing or (cancelled is not None and cancelled.is_set()):
                raise
            self.probe_deaths += 1
            self._probe = self._probing = False
            greeting = self._launch(cancelled)
        if not isinstance(greeting, dict) or "error" in greeting:
            said = greeting if isinstance(greeting, dict) else {}
            self.close()
            raise _load_error(str(said.get("error", "")), str(said.get("message", greeting)))
        self._update_proof(greeting)
        if self._probe and self.independence.batching is RowIndependence.NOT_REPEATABLE:
            self._probe, self._given = False, self.independence
            self.close()
            self._update_proof(cast("dict[str, Any]", self._launch(cancelled)))

    def _launch(self, cancelled: threading.Event | None) -> object:
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
            process_messages.send_message(ours, {"probe": self._probe, "known": known})
            greeting = self._receive(_LOAD_TIMEOUT_S, cancelled)
            if isinstance(greeting, dict) and "loaded" in greeting:
                self._probing = True
                greeting = self._receive(_PROOF_TIMEOUT_S, cancelled)
                self._probing = False
        except process_messages.PeerClosed as error:
            raise self._reap() from error
        return greeting

    def _receive(self, patience: float, cancelled: threading.Event | None = None) -> object:
        """Receive one message; raises PeerClosed when the process ends, is silent for so long [s], or is cancelled."""
        return process_messages.receive_message(self._end, self._waiter(patience, cancelled))

    def _waiter(self, patience: float, cancelled: threading.Event | None = None) -> Callable[[], None]:
        """Give a function that returns once there is something to receive; it raises as `_receive` does."""
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        poll.register(self._watched, select.POLLIN)
        deadline = time.monotonic() + patience

        def wait() -> None:
            while not (ready := dict(poll.poll(_TICK_S * 1000.0))):
                if time.monotonic() > deadline or (cancelled is not None and cancelled.is_set()):
                    raise process_messages.PeerSilent("it has sent nothing within the time limit")
            if self._end.fileno() not in ready:
                raise process_messages.PeerClosed("the process has ended")

        return wait

    def _update_proof(self, said: dict[str, Any]) -> None:
        """Update what is known of the model's rows from a message."""
        if "independence" in said:
            independence = said["independence"]
            batching = RowIndependence(str(independence["batching"]))
            self.independence = IndependenceResult(
                batching, str(independence["why"]), None, int(independence["answered"]), str(independence["problem"])
            )
            self.checks = BatchRecheckCounts(int(said["checked"]), int(said["differed"]))
            self._probing = bool(said["probing"])

    @property
    def batchable(self) -> bool:
        """Whether rows of different requests may be predicted together."""
        return self.independence.row_wise

    async def ask(
        self, names: ColumnNames, values: list[list[object]], options: RequestOptions = NO_OPTIONS
    ) -> list[object]:
        """Ask for one answer a row; the process has checked that each is one.

        Raises:
            RemoteModelError: The model raised.
            ProcessDied: The process is gone.
        """
        try:
            if self._connection is None:
                self._connection = await ModelConnection.open(self._end, self._watched)
            arguments = () if options == NO_OPTIONS else options.arguments()
            body = await self._connection.ask(orjson.dumps((names, values, *arguments)))
            said = orjson.loads(body)
        except (process_messages.PeerClosed, orjson.JSONDecodeError, OSError) as error:
            raise await self._reap_in_thread() from error
        if not isinstance(said, dict):
            raise await self._reap_in_thread()
        if "error" in said:
            raise RemoteModelError(str(said["error"]))
        self.cost = AnswerCost(float(said["cpu_ms"]), float(said["rss_mb"]), float(said["model_ms"]))
        self._update_proof(said)
        return check_answer_count(said["answers"], len(values))

    def call(self, verb: str, arguments: list[object], patience: float) -> object:
        """Call a method of the model and wait for the result; not for a process that an event loop asks.

        Args:
            verb: One of `surefoot.models.model_server._REMOTE_METHODS`.
            arguments: Arguments of the method.
            patience: A process that is silent for longer is ended [s].

        Raises:
            RemoteModelError: The model raised.
            ProcessDied: The process has ended, or was ended.
        """
        return self._call(verb, arguments, None, patience)[0]

    def call_table(self, verb: str, table: bytes, patience: float) -> bytes | None:
        """Ask the model about a table in Arrow's stream format, as `call` does.

        Returns:
            The answers in the same format; None where this model cannot answer tables.
        """
        return self._call(verb, [], table, patience)[1]

    def _call(
        self, verb: str, arguments: list[object], table: bytes | None, patience: float
    ) -> tuple[object, bytes | None]:
        """Ask, and wait for the value and, after a table, for the answers that follow it."""
        answers = None
        try:
            process_messages.send_message(self._end, {"verb": verb, "arguments": arguments})
            if table is not None:
                process_messages.send_bytes(self._end, table)
            said = self._receive(patience)
            if table is not None and isinstance(said, dict) and said.get("value"):
                answers = process_messages.receive_bytes(self._end, self._waiter(patience))
        except process_messages.PeerSilent as error:
            self._reap()
            raise ProcessDied(f"it gave no answer within {patience:.0f} s") from error
        except process_messages.PeerClosed as error:
            raise self._reap() from error
        if not isinstance(said, dict) or "error" in said:
            raise RemoteModelError(str(said["error"] if isinstance(said, dict) else said))
        return said["value"], answers

    def spawn_replica(self, cancelled: threading.Event) -> "ModelProcess":
        """Start another process of the same model.

        Raises:
            ProcessDied: It ended before it had said anything, or was cancelled.
        """
        # One that ended while rows were asked together to probe it is not asked so again.
        return ModelProcess(self._start, cancelled, probe=self._probe and not self._probing, known=self._given)

    def kill(self) -> None:
        """Kill the process at once; what waits for an answer gets ProcessDied."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # what the model has forked goes with it

    def close(self) -> None:
        """Let the process end by itself, or else kill it."""
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(_ENDING_S)
        except (subprocess.TimeoutExpired, OSError):  # without a free descriptor it is not waited for
            self.kill()
            self._process.wait()
        self.kill()
        self._release()

    def _release(self) -> None:
        if self._connection is not None:
            self._connection.disconnect_from_any_thread()  # before the descriptors are closed that its loop looks at
            self._connection = None
        self._end.close()
        if self._watched >= 0:
            os.close(self._watched)
            self._watched = -1

    async def _reap_in_thread(self) -> ProcessDied:
        """Reap the process without blocking the event loop: one of low priority takes its time to end."""
        self.kill()
        await run_in_daemon_thread(self._process.wait)
        return self._reap()

    def _reap(self) -> ProcessDied:
        """Kill and wait for the process, release its descriptors, and give how it ended."""
        self.kill()
        code = self._process.wait()
        self._release()
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        return ProcessDied(f"its process ended {how}")


def _load_error(kind: str, message: str) -> SurefootError:
    """Make the error that a model's process has named; every other kind means that the model cannot be loaded."""
    return {"ArtifactTampered": ArtifactTampered, "NotFound": NotFound}.get(kind, Rejected)(message)
