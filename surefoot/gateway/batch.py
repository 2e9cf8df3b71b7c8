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
from surefoot.gateway.job import Answered, Attempt, Down, Failed, Job, Outcome, Revoked
from surefoot.gateway.record import PredictionLog, lines_of
from surefoot.gateway.settings import Cost, Lost, Predictor

_log = logging.getLogger(__name__)
_ERROR_LENGTH = 200
_BACK_OFF = (0.1, 0.5, 2.0, 10.0)
"""Waits before a process that died is started again [s]; the last one repeats."""
RETRIES = 2
"""How often a request is asked again because the process that had it is gone [count]."""


class Lane:
    """One thread with one predictor; several lanes of a version share its queue."""

    def __init__(self, worker: "Worker", predictor: Predictor | None) -> None:
        """Start the thread; without a predictor it makes its own first."""
        self._worker = worker
        self.predictor = predictor
        self.busy_since = math.inf
        threading.Thread(target=self._run, name=f"version-{worker.version.number}", daemon=True).start()

    def _run(self) -> None:
        worker = self._worker
        if self.predictor is None:
            self._restart()
        while self.predictor is not None and (batch := worker.take()):
            try:
                self._settle(batch, self.predictor)
            except Lost as death:
                worker.bury(batch, death)
                self.busy_since = math.inf
                self._restart()
            self.busy_since = math.inf
        worker.leave(self)

    def _restart(self) -> None:
        """Make a new predictor, however often it takes, until the worker stops."""
        self.predictor = None
        for attempt in range(1_000_000):
            if self._worker.stopping:
                return
            try:
                self.predictor = self._worker.spare()
            except Exception as error:  # noqa: BLE001 - last resort: the model's own code decides whether it starts
                _log.exception("version %s: its process cannot be started", self._worker.version.number)
                self._worker.give_up(error)
                self._worker.nap(_BACK_OFF[min(attempt, len(_BACK_OFF) - 1)])
            else:
                return

    def _settle(self, batch: list[Attempt], predictor: Predictor) -> None:
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
        try:
            rows = [row for attempt in batch for row in attempt.job.rows]
            answers = iter(checked(predictor.predict(rows), len(rows)))
            own = [[next(answers) for _ in attempt.job.rows] for attempt in batch]
            settled = [_fitting(attempt, a) for attempt, a in zip(batch, own, strict=True)]
        except Lost:
            raise
        except BaseException as error:  # noqa: BLE001 - last resort: a model may raise anything, SystemExit included
            if len(batch) > 1:  # one bad request must not fail its neighbours: halve until it stands alone
                half = len(batch) // 2
                self._settle(batch[:half], predictor)
                self._settle(batch[half:], predictor)
                return
            worker.release([(batch[0], Failed(describe(error)), [])])
            return
        spent = predictor.cost
        if spent is not None:
            worker.note(spent)
            share = Cost(spent.cpu_ms / len(rows), spent.rss_mb)
            for attempt in batch:
                if attempt.job.version == worker.version:  # a candidate's failure costs what the candidate took
                    attempt.job.cost = share
        if worker.routed():
            worker.release(settled)
        else:
            worker.release([(attempt, Revoked(), []) for attempt in batch])


def _fitting(attempt: Attempt, answers: list[object]) -> "tuple[Attempt, Outcome, list[object]]":
    """The answers of one request, unless its caller's protocol cannot carry them."""
    try:
        attempt.job.fits(answers)
    except ValueError as error:
        return attempt, Failed(describe(error)), []
    return attempt, Answered(orjson.dumps(answers)), answers


class Worker:
    """One loaded version with a queue and one or more lanes, so that a slow version delays nobody else's queue.

    Attributes:
        version: What it serves.
        stopping: Whether it ends once its queue is empty.
        deaths: Processes of this version that ended unasked [count].
    """

    def __init__(
        self,
        version: Version,
        predictor: Predictor,
        log: PredictionLog,
        routed: Callable[[Version], bool],
        max_batch: int,
    ) -> None:
        """Start with one lane.

        Args:
            version: What it serves.
            predictor: The loaded model.
            log: Where records go before answers are released.
            routed: Whether a version is in the route right now; asked before and after each batch.
            max_batch: Rows that are predicted together [count].
        """
        self.version = version
        self.stopping = False
        self.deaths = 0
        self._cpu_s = 0.0
        self._rss_mb: float | None = None
        self._again = predictor.again
        self._log = log
        self._routed = routed
        self._max_batch = max_batch
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Attempt] = deque()
        self._ready = threading.Condition()
        self._ending = threading.Event()
        self._lanes = [Lane(self, predictor)]

    def grow(self, lanes: int) -> None:
        """Have at least so many lanes, if the model can be had more than once."""
        while self._again is not None and len(self._lanes) < lanes:
            self._lanes.append(Lane(self, None))

    @property
    def queued(self) -> int:
        """Requests that wait [count]."""
        return len(self._queue)

    @property
    def down(self) -> bool:
        """Whether no lane has a predictor right now."""
        return all(lane.predictor is None for lane in self._lanes)

    def busy_for(self) -> float:
        """How long every lane has been at its current batch [s]; negative infinity when one is idle."""
        busy = [lane.busy_since for lane in self._lanes if lane.predictor is not None]
        return time.perf_counter() - max(busy, default=math.inf)

    def unhang(self, patience: float) -> None:
        """End the processes that have been at one batch for longer than anybody waits [s]."""
        for lane in self._lanes:
            predictor = lane.predictor
            if predictor is not None and time.perf_counter() - lane.busy_since > patience:
                _log.error("version %s: hangs, and is ended", self.version.number)
                predictor.kill()

    def note(self, cost: Cost) -> None:
        """Add what a batch took; lanes may do so at once, and a lost addition is no harm."""
        self._cpu_s += cost.cpu_ms / 1000.0
        self._rss_mb = cost.rss_mb

    def spent(self) -> dict[str, object]:
        """Processor time of all answers [s], and memory of the process that answered last [MB]."""
        return {"cpu_seconds": round(self._cpu_s, 6), "rss_mb": self._rss_mb}

    def submit(self, job: Job, *, last: bool) -> Attempt:
        """Queue a request; call from the event loop."""
        attempt = Attempt(job, last, self._loop.create_future())
        with self._ready:
            self._queue.append(attempt)
            self._ready.notify()
        return attempt

    def stop(self) -> None:
        """End every lane once the queue is empty."""
        self._ending.set()
        with self._ready:
            self.stopping = True
            self._ready.notify_all()

    def kill(self) -> None:
        """End every process at once."""
        for lane in self._lanes:
            predictor = lane.predictor
            if predictor is not None:
                predictor.kill()

    def routed(self) -> bool:
        """Whether this version is in the route right now."""
        return self._routed(self.version)

    def spare(self) -> Predictor:
        """Another predictor of this version."""
        if self._again is None:
            raise RuntimeError("this model cannot be loaded a second time")
        return self._again()

    def nap(self, seconds: float) -> None:
        """Wait, unless the worker stops meanwhile."""
        self._ending.wait(seconds)

    def give_up(self, error: Exception) -> None:
        """Let go who waits here, when no lane has a predictor and none can be had just now."""
        if self.down:
            self._drain(Down(f"version {self.version.number} cannot be started: {describe(error)}"))

    def _drain(self, outcome: Outcome) -> None:
        with self._ready:
            waiting = list(self._queue)
            self._queue.clear()
        known = outcome if self.routed() else Revoked()
        self.release([(attempt, known, []) for attempt in waiting if not attempt.claimed])

    def take(self) -> list[Attempt]:
        """Wait for requests and take as many as may go together; none when it is time to stop."""
        with self._ready:
            while not self._queue and not self.stopping:
                self._ready.wait()
            batch: list[Attempt] = []
            rows = 0
            while self._queue and (not batch or rows + len(self._queue[0].job.rows) <= self._max_batch):
                if self._queue[0].retries and batch:
                    break
                attempt = self._queue.popleft()
                rows += len(attempt.job.rows)
                batch.append(attempt)
                if attempt.retries:  # it may be what ended the process: nobody shares its next one
                    break
            return batch

    def bury(self, batch: Sequence[Attempt], death: Exception) -> None:
        """See to the requests of a process that is gone: a candidate has the champion, the rest is asked again."""
        self.deaths += 1
        _log.error("version %s: %s; %d requests were with it", self.version.number, death, len(batch))
        back: list[Attempt] = []
        for attempt in batch:
            if attempt.claimed:
                continue
            attempt.retries += 1
            if attempt.last and attempt.retries <= RETRIES and not self.stopping and self.routed():
                back.append(attempt)
            else:
                self.release([(attempt, Failed(describe(death)) if self.routed() else Revoked(), [])])
        with self._ready:
            self._queue.extendleft(reversed(back))
            self._ready.notify_all()

    def leave(self, lane: Lane) -> None:
        """A lane has ended; close what it had."""
        if lane.predictor is not None:
            lane.predictor.close()
            lane.predictor = None
        if self.down:
            self._drain(Revoked())

    def release(self, settled: Sequence[tuple[Attempt, Outcome, list[object]]]) -> None:
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
    if getattr(error, "told", False):
        return str(error)  # it was described where it was raised
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
