"""Run one replica of a version, which predicts queued requests in its process."""

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING

from surefoot.gateway.inference.attempts.attempt import Attempt, Failed, fail_attempts
from surefoot.gateway.inference.attempts.batch_answers import split_batch_answers
from surefoot.models.model_protocols import BatchRecheckCounts, Predictor, PredictorLost
from surefoot.models.rows.answer_checks import describe_error

if TYPE_CHECKING:
    from surefoot.gateway.inference.version_pool import VersionPool
    from surefoot.models.rows.independence import IndependenceResult

_log = logging.getLogger(__name__)
_RESTART_PAUSES_S = (0.1, 0.5, 2.0, 10.0)
"""Pauses between attempts to start a dead process again; the last one repeats [s]."""
_BACKGROUND_PAUSE_S = 0.5
"""First pause before a background process starts again; doubled with every death [s]."""


class Replica:
    """One predictor and the task that asks it; several replicas of a version share one queue.

    Attributes:
        predictor: The loaded model; None while its process is being started.
        busy_since: When the current batch was begun, on the host's monotonic clock; infinity when idle [s].
    """

    def __init__(self, pool: "VersionPool", predictor: Predictor | None) -> None:
        """Start the task; without a predictor it starts one first."""
        self._pool = pool
        self.predictor = predictor
        self._independence: IndependenceResult | None = None
        self._checks = BatchRecheckCounts()
        self.busy_since = math.inf
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(_log_crash)

    async def _run(self) -> None:
        pool = self._pool
        if self.predictor is None:
            await self._restart()
        while self.predictor is not None and (batch := await pool.next_batch()):
            try:
                await self._predict(batch, self.predictor)
            except PredictorLost as death:
                pool.requeue(batch, death)
                self.busy_since = math.inf
                await self._restart()
            except Exception as error:  # noqa: BLE001 - last resort: an error of ours must not leave callers waiting for ever
                _log.exception("version %s: a batch could not be processed", pool.version.number)
                fail_attempts(batch, error)
            self.busy_since = math.inf
        await pool.remove_replica(self)

    async def _restart(self) -> None:
        """Start another process, however often it takes, until the pool stops."""
        self.predictor = None
        self._pool.restarting += 1
        try:
            await self._start_process(self._pool)
        finally:
            self._pool.restarting -= 1

    async def _start_process(self, pool: "VersionPool") -> None:
        if pool.background:
            pause = min(_BACKGROUND_PAUSE_S * 2.0 ** min(pool.deaths, 10), _RESTART_PAUSES_S[-1])
            await pool.sleep_unless_stopped(pause)
            await pool.wait_until_allowed()
        for attempt in range(1_000_000):
            if pool.stopping:
                return
            try:
                self.predictor = await pool.spawn_replica()
                self._checks = BatchRecheckCounts()
                pool.failed_starts = 0
                pool.count_probe_deaths(self.predictor)
                self._update_permission(self.predictor)
            except Exception as error:  # noqa: BLE001 - last resort: the model's own code decides whether it starts
                if isinstance(error, PredictorLost):  # it started and died before it could answer
                    pool.deaths += 1
                _log.exception("version %s: its process cannot be started", pool.version.number)
                pool.record_failed_start(error)
                await pool.sleep_unless_stopped(_RESTART_PAUSES_S[min(attempt, len(_RESTART_PAUSES_S) - 1)])
            else:
                return

    def _update_permission(self, predictor: Predictor) -> None:
        """Pass on what is known of the rows of the model since the last batch."""
        if predictor.independence is not self._independence:
            self._independence, before, self._checks = predictor.independence, self._checks, predictor.checks
            self._pool.permission.update(predictor.independence, self._checks, before)

    async def _predict(self, batch: list[Attempt], predictor: Predictor) -> None:
        """Predict, record and release one batch.

        Raises:
            PredictorLost: The predictor is gone; what was not released yet has no answer.
        """
        pool = self._pool
        batch = [attempt for attempt in batch if not attempt.claimed]  # no caller waits for the others
        if not batch:
            return
        if not pool.is_routed() and not (batch := pool.revoke_unrouted(batch)):
            return
        self.busy_since = time.perf_counter()
        values = [row for attempt in batch for row in attempt.job.values] if len(batch) > 1 else batch[0].job.values
        try:
            answers = await predictor.ask(batch[0].job.names, values, batch[0].job.options)
            self._update_permission(predictor)
            settled = split_batch_answers(batch, answers, pool.version.number)
        except PredictorLost:
            raise
        except Exception as error:  # noqa: BLE001 - last resort: a model may raise anything
            if len(batch) > 1:  # one bad request must not fail the others: halve until it stands alone
                half = len(batch) // 2
                await self._predict(batch[:half], predictor)
                await self._predict(batch[half:], predictor)
                return
            pool.deliver_outcomes([(batch[0], Failed(describe_error(error)), [])])
            return
        cost = predictor.cost
        if cost is not None:
            pool.record_cost(cost)
            share = cost.of_each(len(values))
            for attempt in batch:
                if attempt.job.version == pool.version:  # a candidate's failure costs what the candidate took
                    attempt.job.cost = share
        if pool.is_routed():  # the fence: an answer that was revoked meanwhile does not leave
            pool.deliver_outcomes(settled)
        else:
            left = pool.revoke_unrouted(batch)
            pool.deliver_outcomes([one for one in settled if one[0] in left])


def _log_crash(task: "asyncio.Task[None]") -> None:
    """Log an error of ours that has ended the task of a replica."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("the task of a replica has ended by %s", describe_error(error), exc_info=error)
