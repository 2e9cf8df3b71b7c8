"""Greedy batches: whatever queued up while a version was busy is predicted together, with no timer."""

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import orjson

from surefoot.core.model import Version
from surefoot.gateway.job import Answered, Attempt, Failed, Job, Outcome, Revoked
from surefoot.gateway.record import PredictionLog, lines_of
from surefoot.gateway.settings import Predictor

_log = logging.getLogger(__name__)
_ERROR_LENGTH = 200


class Worker:
    """One loaded version with one thread, so that a slow version delays nobody else's queue.

    Attributes:
        version: What it serves.
    """

    def __init__(
        self,
        version: Version,
        predictor: Predictor,
        log: PredictionLog,
        routed: Callable[[Version], bool],
        max_batch: int,
    ) -> None:
        """Start the thread.

        Args:
            version: What it serves.
            predictor: The loaded model.
            log: Where records go before answers are released.
            routed: Whether a version is in the route right now; asked before and after each batch.
            max_batch: Rows that are predicted together [count].
        """
        self.version = version
        self._predictor = predictor
        self._log = log
        self._routed = routed
        self._max_batch = max_batch
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Attempt] = deque()
        self._ready = threading.Condition()
        self._stopping = False
        self._busy_since = math.inf
        threading.Thread(target=self._run, name=f"version-{version.number}", daemon=True).start()

    @property
    def queued(self) -> int:
        """Requests that wait [count]."""
        return len(self._queue)

    def busy_for(self) -> float:
        """How long the model has been at its current batch [s]; negative infinity when idle."""
        return time.perf_counter() - self._busy_since

    def submit(self, job: Job, *, last: bool) -> Attempt:
        """Queue a request; call from the event loop."""
        attempt = Attempt(job, last, self._loop.create_future())
        with self._ready:
            self._queue.append(attempt)
            self._ready.notify()
        return attempt

    def stop(self) -> None:
        """End the thread once its queue is empty."""
        with self._ready:
            self._stopping = True
            self._ready.notify()

    def _run(self) -> None:
        while batch := self._take():
            self._settle(batch)
            self._busy_since = math.inf

    def _take(self) -> list[Attempt]:
        with self._ready:
            while not self._queue and not self._stopping:
                self._ready.wait()
            batch: list[Attempt] = []
            rows = 0
            while self._queue and (not batch or rows + len(self._queue[0].job.rows) <= self._max_batch):
                attempt = self._queue.popleft()
                rows += len(attempt.job.rows)
                batch.append(attempt)
            return batch

    def _settle(self, batch: list[Attempt]) -> None:
        """Predict, record and release one batch."""
        batch = [attempt for attempt in batch if not attempt.claimed]  # nobody waits for the others any more
        if not batch:
            return
        if not self._routed(self.version):
            self._release([(attempt, Revoked(), []) for attempt in batch])
            return
        self._busy_since = time.perf_counter()
        try:
            rows = [row for attempt in batch for row in attempt.job.rows]
            answers = iter(checked(self._predictor.predict(rows), len(rows)))
            own = [[next(answers) for _ in attempt.job.rows] for attempt in batch]
            settled = [(attempt, Answered(orjson.dumps(a)), a) for attempt, a in zip(batch, own, strict=True)]
        except BaseException as error:  # noqa: BLE001 - last resort: a model may raise anything, SystemExit included
            if len(batch) > 1:  # one bad request must not fail its neighbours: halve until it stands alone
                half = len(batch) // 2
                self._settle(batch[:half])
                self._settle(batch[half:])
                return
            self._release([(batch[0], Failed(describe(error)), [])])
            return
        if self._routed(self.version):
            self._release(settled)
        else:
            self._release([(attempt, Revoked(), []) for attempt in batch])

    def _release(self, settled: Sequence[tuple[Attempt, Outcome, list[object]]]) -> None:
        """Write the records of those outcomes that are final, then let the callers go."""
        won: list[tuple[Attempt, Outcome]] = []
        lines: list[bytes] = []
        for attempt, outcome, answers in settled:
            if not attempt.claim():
                continue
            won.append((attempt, outcome))
            job = attempt.job
            if not isinstance(outcome, Revoked):
                job.stop_watch()
            if isinstance(outcome, Answered):
                lines += lines_of(job, answers, self.version.number)
            elif isinstance(outcome, Failed) and attempt.last:
                job.error = job.error or outcome.error
                lines += lines_of(job, None, None)
        if lines:
            self._log.write(lines)
        if won:
            try:
                self._loop.call_soon_threadsafe(_deliver, won)
            except RuntimeError:  # the loop is closed: the process is going, and nobody listens
                _log.info("%d answers came after the gateway had stopped", len(won))


def _deliver(won: list[tuple[Attempt, Outcome]]) -> None:
    for attempt, outcome in won:
        if not attempt.settled.done():  # else its caller has gone
            attempt.settled.set_result(outcome)


def describe(error: BaseException) -> str:
    """Give an error as one short line: its type and the beginning of what it says."""
    try:
        said = " ".join(str(error).split())[:_ERROR_LENGTH]
    except Exception:  # noqa: BLE001 - last resort: a model's own error may fail even at saying what it is
        said = "(it cannot be shown)"
    return f"{type(error).__name__}: {said}".encode("utf-8", "replace").decode()


def checked(answers: object, rows: int) -> list[object]:
    """Refuse a wrong number of answers and what is no answer at all.

    Raises:
        ValueError: Names it.
    """
    if not isinstance(answers, list) or len(answers) != rows:
        given = len(answers) if isinstance(answers, list) else "no list of"
        raise ValueError(f"the model gave {given} answers for {rows} rows")
    for answer in answers:
        _check(answer)
    return answers


def _check(answer: object) -> None:
    if answer is None or (isinstance(answer, float) and not math.isfinite(answer)):
        raise ValueError(f"the model gave {answer} as an answer")
    if isinstance(answer, list):
        for item in answer:
            _check(item)
    elif isinstance(answer, dict):
        for item in answer.values():
            _check(item)
