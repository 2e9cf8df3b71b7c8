"""Run the replicas of one version, which share a queue of requests."""

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from functools import partial

from surefoot.core.domain import Version
from surefoot.gateway.inference.attempts.attempt import (
    Attempt,
    AttemptOutcome,
    AttemptRecordBuilder,
    Failed,
    ProcessDown,
    Revoked,
    SettledAttempt,
)
from surefoot.gateway.inference.attempts.attempt_log_records import build_caller_records, build_shadow_records
from surefoot.gateway.inference.batch_permission import BatchPermission
from surefoot.gateway.inference.replica import Replica
from surefoot.gateway.inference.routes.live_route import WorkerRoute
from surefoot.gateway.inference.routes.version_key import version_key
from surefoot.gateway.log.prediction_log_writer import PredictionLogWriter
from surefoot.gateway.log.scoring_request import ScoringRequest
from surefoot.models.blocking_calls import run_in_daemon_thread
from surefoot.models.model_protocols import NO_OPTIONS, AnswerCost, ColumnNames, Predictor, RequestOptions
from surefoot.models.rows.answer_checks import describe_error

_log = logging.getLogger(__name__)
_ALLOWANCE_CHECK_S = 0.05
_MAX_RETRIES = 2
"""How often a request is asked again because the process that had it is gone [count]."""
_MAX_FAILED_STARTS = 3
"""Failed starts in a row after which a version is loaded anew, from the registry if need be [count]."""


class VersionPool:
    """One loaded version with a queue and one or more replicas, so that a slow version delays no other one's queue.

    All its methods belong to the event loop.

    Attributes:
        version: The version that answers.
        background: Whether no caller waits for the answers: batches need an allowance, and a dead process may wait
            before it starts again, longer after every death.
        stopping: Whether the replicas end once the queue is empty.
        deaths: Processes of this version that ended by themselves [count].
        pause_s: Wait before each batch of a background version [s].
        batch_allowance: Batches that a background version may still be asked [count].
        max_batch: Rows that are predicted together [count].
        failed_starts: How often in a row no new process could be started [count].
        restarting: Replicas whose process is being started [count].
        permission: Whether requests may be predicted together.
    """

    def __init__(
        self,
        version: Version,
        predictor: Predictor,
        log: PredictionLogWriter,
        route: WorkerRoute | None,
        max_batch: int,
        *,
        background: bool = False,
        records: AttemptRecordBuilder | None = None,
    ) -> None:
        """Start with one replica.

        Args:
            version: The version that answers.
            predictor: The loaded model.
            log: Where records go before answers are released.
            route: The route that says whether this version may answer; read before and after each batch. Without one
                it always may.
            max_batch: Rows that are predicted together [count].
            background: Whether no caller waits for the answers; nothing is asked before batches are allowed.
            records: Gives the records of outcomes; by default those of a version that is mirrored to, or serves.
        """
        self._records = records or (build_shadow_records if background else build_caller_records)
        self.version = version
        self._key = version_key(version)
        self.background = background
        self.stopping = False
        self.deaths = 0
        self.count_probe_deaths(predictor)
        self.pause_s = 0.0
        self.batch_allowance = 0.0 if background else math.inf
        self.failed_starts = 0
        self.restarting = 0
        self._cpu_s = 0.0
        self._rss_mb: float | None = None
        self._spawn_replica = predictor.spawn_replica
        self.permission = BatchPermission(version.number, predictor)
        self._log = log
        self._route = route
        self.max_batch = max_batch
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Attempt] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._stopped = asyncio.Event()
        self._cancelled = threading.Event()
        self._replicas = [Replica(self, predictor)]

    def ensure_replicas(self, count: int) -> None:
        """Have at least so many replicas, if the model can be loaded more than once."""
        while self._spawn_replica is not None and len(self._replicas) < count:
            self._replicas.append(Replica(self, None))

    @property
    def queued(self) -> int:
        """Requests that wait [count]."""
        return len(self._queue)

    @property
    def is_down(self) -> bool:
        """Whether no replica has a running process right now."""
        return all(replica.predictor is None for replica in self._replicas)

    @property
    def cannot_restart(self) -> bool:
        """Whether it is down and its process could not be started several times in a row."""
        return self.is_down and self.failed_starts >= _MAX_FAILED_STARTS

    @property
    def ended(self) -> bool:
        """Whether every replica has ended."""
        return not self._replicas

    def busy_seconds(self) -> float:
        """Measure how long every replica has been at its current batch [s]; negative infinity when one is idle."""
        busy = [replica.busy_since for replica in self._replicas if replica.predictor is not None]
        return time.perf_counter() - max(busy, default=math.inf)

    def kill_hung(self, patience: float) -> None:
        """Kill the processes that have been at one batch for longer than this [s]."""
        now = time.perf_counter()
        for replica in self._replicas:
            predictor = replica.predictor
            if predictor is not None and now - replica.busy_since > patience:
                _log.error("version %s: its process hangs and is killed", self.version.number)
                predictor.kill()

    def record_cost(self, cost: AnswerCost) -> None:
        """Add the cost of a batch."""
        self._cpu_s += cost.cpu_ms / 1000.0
        self._rss_mb = cost.rss_mb

    def resource_stats(self) -> dict[str, object]:
        """Give the processor time of all answers [s], and the memory of the process that answered last [MB]."""
        return {"cpu_seconds": round(self._cpu_s, 6), "rss_mb": self._rss_mb}

    def submit(self, job: ScoringRequest, *, last: bool) -> Attempt:
        """Queue a request."""
        attempt = Attempt(job, last, self._loop.create_future())
        self._queue.append(attempt)
        self._wake_one()
        return attempt

    def _wake_one(self) -> None:
        """Wake one idle replica."""
        while self._idle:
            waiting = self._idle.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return

    def stop(self) -> None:
        """End every replica once the queue is empty."""
        self._stopped.set()
        self._cancelled.set()
        self.stopping = True
        for waiting in self._idle:
            if not waiting.done():
                waiting.set_result(None)

    def kill(self) -> None:
        """Kill every process at once."""
        for replica in self._replicas:
            predictor = replica.predictor
            if predictor is not None:
                predictor.kill()

    def is_routed(self) -> bool:
        """Whether this version may answer right now."""
        return self._route is None or self._route.serves(self._key)

    def revoke_unrouted(self, batch: Sequence[Attempt]) -> list[Attempt]:
        """Revoke what a version may not answer that has no share of the traffic.

        Returns:
            The rest: requests that the champion has failed, where this version is the standby.
        """
        standby = self._route is not None and self._route.is_standby(self._key)
        left = [attempt for attempt in batch if standby and attempt.job.rung is not None]
        self.deliver_outcomes([(attempt, Revoked(), []) for attempt in batch if attempt not in left])
        return left

    async def spawn_replica(self) -> Predictor:
        """Start another process of this version."""
        if self._spawn_replica is None:
            raise RuntimeError("this model cannot be loaded a second time")
        return await run_in_daemon_thread(partial(self._spawn_replica, self._cancelled))

    def count_probe_deaths(self, predictor: Predictor) -> None:
        """Count and tell the processes that ended while they were asked made-up rows, before this one was started."""
        self.deaths += predictor.probe_deaths
        for _ in range(predictor.probe_deaths):
            _log.error("version %s: its process ended or hung while it was asked made-up rows", self.version.number)

    async def sleep_unless_stopped(self, seconds: float) -> None:
        """Wait so long, or until the pool stops."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), seconds)

    def record_failed_start(self, error: Exception) -> None:
        """Count a failed start; fail what is queued when no replica has a process."""
        self.failed_starts += 1
        if self.is_down:
            self.settle_queued(ProcessDown(f"version {self.version.number} cannot be started: {describe_error(error)}"))

    def settle_queued(self, outcome: AttemptOutcome) -> None:
        """Settle everything that is queued with one outcome, or as revoked when this version is not routed."""
        waiting = list(self._queue)
        self._queue.clear()
        known = outcome if self.is_routed() else Revoked()
        self.deliver_outcomes([(attempt, known, []) for attempt in waiting if not attempt.claimed])

    async def wait_until_allowed(self) -> None:
        """Wait until a background version may be asked a batch."""
        if self.pause_s:
            await self.sleep_unless_stopped(self.pause_s)
        while self.batch_allowance < 1 and not self.stopping:
            await self.sleep_unless_stopped(_ALLOWANCE_CHECK_S)

    async def next_batch(self) -> list[Attempt]:
        """Wait for requests and take as many as may go together; none when it is time to stop."""
        while not self._queue and not self.stopping:
            waiting = self._loop.create_future()
            self._idle.append(waiting)
            await waiting
        if self.background:
            await self.wait_until_allowed()
        batch: list[Attempt] = []
        names: ColumnNames = None
        options: RequestOptions = NO_OPTIONS
        rows = 0
        while self._queue:
            first = self._queue[0]
            job = first.job
            alike = self.permission.allowed and job.names == names and job.options == options and not first.retries
            if batch and not (alike and rows + len(job.values) <= self.max_batch):
                self._wake_one()
                break
            attempt = self._queue.popleft()
            if attempt.claimed:
                continue
            names, options = attempt.job.names, attempt.job.options
            rows += len(attempt.job.values)
            batch.append(attempt)
            if attempt.retries:  # it may be what ended the process: it goes alone
                break
        if not batch and not self.stopping:
            return await self.next_batch()
        self.batch_allowance -= 1
        self.permission.count_batch(len(batch))
        if self.background:  # how long it had to wait says nothing of the version
            for attempt in batch:
                attempt.job.restart_timer()
        return batch

    def requeue(self, batch: Sequence[Attempt], death: Exception) -> None:
        """Settle the requests of a dead process: a champion is asked again, a candidate has failed."""
        self.deaths += 1
        discarded = self.background and self.stopping  # the gateway itself has ended the process
        level = logging.INFO if discarded else logging.ERROR
        _log.log(level, "version %s: %s; %d requests were with it", self.version.number, death, len(batch))
        retried: list[Attempt] = []
        for attempt in batch:
            if attempt.claimed:
                continue
            attempt.retries += 1
            if attempt.last and attempt.retries <= _MAX_RETRIES and not self.stopping and self.is_routed():
                retried.append(attempt)
            else:
                failed = self.is_routed() and not discarded
                self.deliver_outcomes([(attempt, Failed(describe_error(death)) if failed else Revoked(), [])])
        self._queue.extendleft(reversed(retried))
        self._wake_one()

    async def remove_replica(self, replica: Replica) -> None:
        """Close the process of a replica whose task ends, and forget it."""
        predictor, replica.predictor = replica.predictor, None
        if self.is_down:
            self.settle_queued(Revoked())
        if predictor is not None:
            await run_in_daemon_thread(predictor.close)
        self._replicas.remove(replica)

    def deliver_outcomes(self, settled: Sequence[SettledAttempt]) -> None:
        """Write the records of those outcomes that are final, then let the callers go."""
        won: list[tuple[Attempt, AttemptOutcome]] = []
        lines: list[bytes] = []
        for attempt, outcome, answers in settled:
            if not attempt.claim():
                continue
            won.append((attempt, outcome))
            if not isinstance(outcome, Revoked):
                attempt.job.record_latency()
            lines += self._records(attempt, outcome, answers)
        if lines:
            self._log.write(lines)
        for attempt, outcome in won:
            if not attempt.settled.done():  # else its caller has gone
                attempt.settled.set_result(outcome)
