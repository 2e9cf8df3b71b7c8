"""Greedy batches: whatever queued up while a version was busy is predicted together, with no timer."""

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from surefoot.core.domain import Version
from surefoot.gateway.inference.batch_permission import BatchPermission
from surefoot.gateway.inference.request import (
    Attempt,
    Failed,
    Outcome,
    ProcessDown,
    Revoked,
    Settled,
    caller_records,
    fail_waiting,
    split_answers,
)
from surefoot.gateway.log.record import PredictionLogWriter
from surefoot.gateway.log.request import InferenceRequest
from surefoot.models.answers import describe_error
from surefoot.models.contract import (
    NO_OPTIONS,
    AnswerCost,
    Names,
    Predictor,
    PredictorLost,
    RequestOptions,
    RowChecks,
)
from surefoot.models.threads import in_thread

if TYPE_CHECKING:
    from surefoot.models.row_independence import IndependenceProof

_log = logging.getLogger(__name__)
_BACK_OFF = (0.1, 0.5, 2.0, 10.0)  # waits before a process that died is started again [s]; the last one repeats
_CALM_S, _LOOK_S = 0.5, 0.05  # the first is doubled with every death
RETRIES = 2
"""How often a request is asked again because the process that had it is gone [count]."""
DEAD_AFTER_S = 3
"""Attempts after which a version is loaded anew, from the registry if need be [count]."""
Lines = Callable[[Attempt, Outcome, list[object]], list[bytes]]


class Replica:
    """One predictor with the task that asks it; several lanes of a version share its queue."""

    def __init__(self, worker: "VersionPool", predictor: Predictor | None) -> None:
        """Start the task; without a predictor it makes its own first."""
        self._worker = worker
        self.predictor = predictor
        self._proof: IndependenceProof | None = None
        self._checks = RowChecks()
        self.busy_since = math.inf
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(_mourn)

    async def _run(self) -> None:
        worker = self._worker
        if self.predictor is None:
            await self._restart()
        while self.predictor is not None and (batch := await worker.take()):
            try:
                await self._settle(batch, self.predictor)
            except PredictorLost as death:
                worker.bury(batch, death)
                self.busy_since = math.inf
                await self._restart()
            except Exception as error:  # noqa: BLE001 - last resort: a mistake of ours must not leave callers waiting for ever
                _log.exception("version %s: a batch could not be dealt with", worker.version.number)
                fail_waiting(batch, error)
            self.busy_since = math.inf
        await worker.leave(self)

    async def _restart(self) -> None:
        """Make a new predictor, however often it takes, until the worker stops."""
        self.predictor = None
        if self._worker.calm:
            await self._worker.nap(min(_CALM_S * 2.0 ** min(self._worker.deaths, 10), _BACK_OFF[-1]))
            await self._worker.lull()
        for attempt in range(1_000_000):
            if self._worker.stopping:
                return
            try:
                self.predictor = await self._worker.spare()
                self._checks = RowChecks()
                self._worker.refused = 0
                self._learn(self.predictor)
            except Exception as error:  # noqa: BLE001 - last resort: the model's own code decides whether it starts
                if isinstance(
                    error, PredictorLost
                ):  # it started and died before it could answer: a death like any other
                    self._worker.deaths += 1
                _log.exception("version %s: its process cannot be started", self._worker.version.number)
                self._worker.give_up(error)
                await self._worker.nap(_BACK_OFF[min(attempt, len(_BACK_OFF) - 1)])
            else:
                return

    def _learn(self, predictor: Predictor) -> None:
        """Take over what is known of the model's rows since it was asked last."""
        if predictor.proof is not self._proof:
            self._proof, before, self._checks = predictor.proof, self._checks, predictor.checks
            self._worker.sharing.learn(predictor.proof, self._checks, before)

    async def _settle(self, batch: list[Attempt], predictor: Predictor) -> None:
        """Predict, record and release one batch.

        Raises:
            Lost: The predictor is gone; nothing of what was not released yet has an answer.
        """
        worker = self._worker
        batch = [attempt for attempt in batch if not attempt.claimed]  # nobody waits for the others any more
        if not batch:
            return
        if not worker.routed():
            worker.release([(attempt, Revoked(), []) for attempt in batch])
            return
        self.busy_since = time.perf_counter()
        values = [row for attempt in batch for row in attempt.job.values] if len(batch) > 1 else batch[0].job.values
        try:
            answers = await predictor.ask(batch[0].job.names, values, batch[0].job.options)
            self._learn(predictor)
            settled = split_answers(batch, answers, worker.version.number)
        except PredictorLost:
            raise
        except Exception as error:  # noqa: BLE001 - last resort: a model may raise anything
            if len(batch) > 1:  # one bad request must not fail its neighbours: halve until it stands alone
                half = len(batch) // 2
                await self._settle(batch[:half], predictor)
                await self._settle(batch[half:], predictor)
                return
            worker.release([(batch[0], Failed(describe_error(error)), [])])
            return
        spent = predictor.cost
        if spent is not None:
            worker.note(spent)
            share = spent.of_each(len(values))
            for attempt in batch:
                if attempt.job.version == worker.version:  # a candidate's failure costs what the candidate took
                    attempt.job.cost = share
        if worker.routed():  # the fence: an answer that was revoked meanwhile does not leave
            worker.release(settled)
        else:
            worker.release([(attempt, Revoked(), []) for attempt in batch])


def _mourn(task: "asyncio.Task[None]") -> None:
    """A lane that ends by an error of ours must not do so silently."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("a lane has ended by %s", describe_error(error), exc_info=error)


class VersionPool:
    """One loaded version with a queue and one or more lanes, so that a slow version delays nobody else's queue.

    All its methods belong to the event loop.

    Attributes:
        version: What it serves.
        stopping: Whether it ends once its queue is empty.
        deaths: Processes of this version that ended unasked [count].
        pause_s: Wait before each batch [s].
        allowed: Batches that may be asked until somebody allows more, where `calm` is set [count].
        max_batch: Rows that are predicted together [count].
        refused: How often in a row no new process could be had [count].
        sharing: Whether its requests may be predicted together.
        calm: Whether a new process may wait, longer after every death, because nobody waits for its answers.
    """

    def __init__(
        self,
        version: Version,
        predictor: Predictor,
        log: PredictionLogWriter,
        routed: Callable[[Version], bool],
        max_batch: int,
        lines: Lines | None = None,
    ) -> None:
        """Start with one lane.

        Args:
            version: What it serves.
            predictor: The loaded model.
            log: Where records go before answers are released.
            routed: Whether a version is in the route right now; asked before and after each batch.
            max_batch: Rows that are predicted together [count].
            lines: Gives the records of a final outcome; those of a caller's answer without it.
        """
        self._lines = lines or caller_records
        self.version = version
        self.stopping = False
        self.deaths = 0
        self.calm = False
        self.pause_s = 0.0
        self.allowed = math.inf
        self.refused = 0
        self._cpu_s = 0.0
        self._rss_mb: float | None = None
        self._again = predictor.again
        self.sharing = BatchPermission(version.number, predictor)
        self._log = log
        self._routed = routed
        self.max_batch = max_batch
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Attempt] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._ending = asyncio.Event()
        self._replicas = [Replica(self, predictor)]

    def grow(self, replicas: int) -> None:
        """Have at least so many lanes, if the model can be had more than once."""
        while self._again is not None and len(self._replicas) < replicas:
            self._replicas.append(Replica(self, None))

    @property
    def queued(self) -> int:
        """Requests that wait [count]."""
        return len(self._queue)

    @property
    def down(self) -> bool:
        """Whether no lane has a predictor right now."""
        return all(replica.predictor is None for replica in self._replicas)

    @property
    def hopeless(self) -> bool:
        """Whether it is down and does not come back by itself."""
        return self.down and self.refused >= DEAD_AFTER_S

    @property
    def ended(self) -> bool:
        """Whether every lane has let go of what it had."""
        return not self._replicas

    def busy_for(self) -> float:
        """How long every lane has been at its current batch [s]; negative infinity when one is idle."""
        busy = [replica.busy_since for replica in self._replicas if replica.predictor is not None]
        return time.perf_counter() - max(busy, default=math.inf)

    def unhang(self, patience: float) -> None:
        """End the processes that have been at one batch for longer than anybody waits [s]."""
        now = time.perf_counter()
        for replica in self._replicas:
            predictor = replica.predictor
            if predictor is not None and now - replica.busy_since > patience:
                _log.error("version %s: hangs, and is ended", self.version.number)
                predictor.kill()

    def note(self, cost: AnswerCost) -> None:
        """Add what a batch took."""
        self._cpu_s += cost.cpu_ms / 1000.0
        self._rss_mb = cost.rss_mb

    def spent(self) -> dict[str, object]:
        """Processor time of all answers [s], and memory of the process that answered last [MB]."""
        return {"cpu_seconds": round(self._cpu_s, 6), "rss_mb": self._rss_mb}

    def submit(self, job: InferenceRequest, *, last: bool) -> Attempt:
        """Queue a request."""
        attempt = Attempt(job, last, self._loop.create_future())
        self._queue.append(attempt)
        self._wake()
        return attempt

    def _wake(self) -> None:
        """Tell one idle lane that there is work."""
        while self._idle:
            waiting = self._idle.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return

    def stop(self) -> None:
        """End every lane once the queue is empty."""
        self._ending.set()
        self.stopping = True
        for waiting in self._idle:
            if not waiting.done():
                waiting.set_result(None)

    def kill(self) -> None:
        """End every process at once."""
        for replica in self._replicas:
            predictor = replica.predictor
            if predictor is not None:
                predictor.kill()

    def routed(self) -> bool:
        """Whether this version is in the route right now."""
        return self._routed(self.version)

    async def spare(self) -> Predictor:
        """Another predictor of this version."""
        if self._again is None:
            raise RuntimeError("this model cannot be loaded a second time")
        return await in_thread(partial(self._again, lambda: self.stopping))

    async def nap(self, seconds: float) -> None:
        """Wait, unless the worker stops meanwhile."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)

    def give_up(self, error: Exception) -> None:
        """Let go who waits here, when no lane has a predictor and none can be had just now."""
        self.refused += 1
        if self.down:
            self.drain(ProcessDown(f"version {self.version.number} cannot be started: {describe_error(error)}"))

    def drain(self, outcome: Outcome) -> None:
        """Let go who waits here."""
        waiting = list(self._queue)
        self._queue.clear()
        known = outcome if self.routed() else Revoked()
        self.release([(attempt, known, []) for attempt in waiting if not attempt.claimed])

    async def lull(self) -> None:
        """Wait while nothing is to be asked."""
        if self.pause_s:
            await self.nap(self.pause_s)
        while self.allowed < 1 and not self.stopping:
            await self.nap(_LOOK_S)

    async def take(self) -> list[Attempt]:
        """Wait for requests and take as many as may go together; none when it is time to stop."""
        while not self._queue and not self.stopping:
            waiting = self._loop.create_future()
            self._idle.append(waiting)
            await waiting
        if self.calm:
            await self.lull()
        batch: list[Attempt] = []
        names: Names = None
        options: RequestOptions = NO_OPTIONS
        rows = 0
        while self._queue:
            first = self._queue[0]
            job = first.job
            alike = self.sharing.allowed and job.names == names and job.options == options and not first.retries
            if batch and not (alike and rows + len(job.values) <= self.max_batch):
                self._wake()
                break
            attempt = self._queue.popleft()
            if attempt.claimed:
                continue
            names, options = attempt.job.names, attempt.job.options
            rows += len(attempt.job.values)
            batch.append(attempt)
            if attempt.retries:  # it may be what ended the process: nobody shares its next one
                break
        if not batch and not self.stopping:
            return await self.take()
        self.allowed -= 1
        self.sharing.count(len(batch))
        if self.calm:  # how long it was let wait says nothing of the version
            for attempt in batch:
                attempt.job.restart()
        return batch

    def bury(self, batch: Sequence[Attempt], death: Exception) -> None:
        """See to the requests of a process that is gone: a candidate has the champion, the rest is asked again."""
        self.deaths += 1
        let_go = self.calm and self.stopping  # nobody waits for it, and we have ended it
        level = logging.INFO if let_go else logging.ERROR
        _log.log(level, "version %s: %s; %d requests were with it", self.version.number, death, len(batch))
        back: list[Attempt] = []
        for attempt in batch:
            if attempt.claimed:
                continue
            attempt.retries += 1
            if attempt.last and attempt.retries <= RETRIES and not self.stopping and self.routed():
                back.append(attempt)
            else:
                failed = self.routed() and not let_go
                self.release([(attempt, Failed(describe_error(death)) if failed else Revoked(), [])])
        self._queue.extendleft(reversed(back))
        self._wake()

    async def leave(self, replica: Replica) -> None:
        """A lane has ended; close what it had."""
        predictor, replica.predictor = replica.predictor, None
        if self.down:
            self.drain(Revoked())
        if predictor is not None:
            await in_thread(predictor.close)
        self._replicas.remove(replica)

    def release(self, settled: Sequence[Settled]) -> None:
        """Write the records of those outcomes that are final, then let the callers go."""
        won: list[tuple[Attempt, Outcome]] = []
        lines: list[bytes] = []
        for attempt, outcome, answers in settled:
            if not attempt.claim():
                continue
            won.append((attempt, outcome))
            if not isinstance(outcome, Revoked):
                attempt.job.stop_watch()
            lines += self._lines(attempt, outcome, answers)
        if lines:
            self._log.write(lines)
        for attempt, outcome in won:
            if not attempt.settled.done():  # else its caller has gone
                attempt.settled.set_result(outcome)
