"""A version that is asked what callers asked, after they have been answered; nobody waits for it.

Requests are chosen by a hash before anything else, so that the sample says nothing about how busy anybody was. What the
shadow has no room for is dropped and counted: a dropped request is missing, never an agreement.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import orjson

from surefoot.core.assignment import assignment_bucket
from surefoot.core.domain import Split, Version
from surefoot.gateway.inference.batching import VersionPool
from surefoot.gateway.inference.request import (
    Answered,
    Attempt,
    Failed,
    Outcome,
    ProcessDown,
    Revoked,
)
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.gateway.log.record import LONGEST_TEXT, PredictionLogWriter, json_line, logged_unit
from surefoot.gateway.log.request import InferenceRequest
from surefoot.models.contract import Predictor

if TYPE_CHECKING:
    import asyncio

LEAST_PAUSE_S, LONGEST_PAUSE_S = 0.001, 1.0
"""Waits between batches of a shadow that fails: the first, doubled with every failure in a row, and the last [s]."""
MOST_TOGETHER = 8
"""Rows that are asked together [count]: what has been asked cannot be taken back when callers become many."""
FASTEST = 1024
"""Batches between two looks at the host, at most [count]."""
MANY = 1024
"""So many dropped requests are noted with the next look at the host [count]; fewer once a second."""


@dataclass(slots=True)
class ShadowCounts:
    """What became of mirrored requests since the start; the parts add up to `mirrored` once nothing waits [count]."""

    mirrored: int = 0
    answered: int = 0
    failed: int = 0
    dropped: int = 0


class ShadowQueue:
    """One version that is mirrored to; all its methods belong to the event loop."""

    def __init__(
        self,
        version: Version,
        predictor: Predictor,
        log: PredictionLogWriter,
        settings: GatewaySettings,
        clock: Callable[[], float],
    ) -> None:
        """Begin with nothing mirrored.

        Args:
            version: What is asked.
            predictor: It, in a process that stands behind all others.
            log: Where its answers are recorded (docs/record-schema.md).
            settings: How the gateway behaves.
            clock: Unix seconds of the records.
        """
        self._clock = clock
        self.version = version
        self.tally = ShadowCounts()
        self._log = log
        self._room = settings.shadow_queue
        self._noted = 0
        self._waiting = 0
        self._pace, self._waited = 0, False
        self._split: Split | None = None
        self._mirrors = False
        self.worker = VersionPool(version, predictor, log, lambda _version: True, 1, self._lines)
        self.worker.calm = True
        self.worker.allowed = 0

    def make_room(self, *, idle_monitor: bool) -> None:
        """Allow so many batches until the next look at the host: none, or one, or twice as many as were asked.

        The first is allowed when somebody has waited since the look before: when callers come after a quiet time, what
        the host did in that time says nothing of whether it can serve the shadow as well.
        """
        worker, waits = self.worker, self.worker.queued > 0
        asked = int(self._pace - worker.allowed)
        if not idle_monitor:
            self._pace = 0
        elif asked:
            self._pace = min(asked * 2, FASTEST)
        elif worker.busy_for() <= 0.0:  # else it is at one that was allowed before
            self._pace = int(worker.down or (waits and self._waited))
        self._waited = waits
        worker.max_batch = min(self._pace, MOST_TOGETHER)
        worker.allowed = self._pace
        if self.tally.dropped - self._noted >= MANY:
            self.note_now()

    def leave(self) -> None:
        """Let go what waits, and end the process: nobody waits for its answers, and it would take processor time."""
        self.worker.stop()
        self.worker.drain(Revoked())
        self.worker.kill()
        self.note_now()  # nobody looks after it any more

    def wants(self, job: InferenceRequest) -> Callable[[], None] | None:
        """What is to be done when the caller has been answered; None where it is not mirrored, or there is no room.

        Every request comes here, and on a busy host nearly all of them are dropped: that must cost next to nothing.
        """
        split = job.split
        if split is not self._split:
            self._split, self._mirrors = split, split.candidate == self.version
        if not self._mirrors or not is_mirrored(split, job.request):
            return None
        if self._waiting < self._room and not self.worker.down:
            return partial(self._offer, job)
        self.tally.mirrored += 1
        self.tally.dropped += 1
        return None

    def _offer(self, job: InferenceRequest) -> None:
        """Ask what a caller has asked, if there still is room for it."""
        self.tally.mirrored += 1
        if self._waiting >= self._room or self.worker.down or self.worker.stopping:
            self.tally.dropped += 1
            if self.worker.stopping:
                self.note_now()  # nobody looks after it any more
            return
        self._waiting += 1
        own = replace(job, version=self.version, latency_ms=None, error=None, cost=None, fits=None)
        own.restart()
        self.worker.submit(own, last=False).settled.add_done_callback(self._settled)

    def _settled(self, outcome: "asyncio.Future[Outcome]") -> None:
        self._waiting -= 1
        if isinstance(outcome.result(), Answered):
            self.tally.answered += 1
            self.worker.pause_s = 0.0
        else:
            self.tally.failed += 1
            # A batch that fails is asked again in halves: one that always fails would cost more than one that answers.
            self.worker.pause_s = min(self.worker.pause_s * 2.0 or LEAST_PAUSE_S, LONGEST_PAUSE_S)

    def told(self) -> dict[str, object]:
        """What `/stats` says of it."""
        return {"version": self.version.number, **asdict(self.tally), "waiting": self._waiting, **self.worker.spent()}

    def watch(self, patience: float) -> None:
        """End its process when it has been at one batch for so long [s], and note what was dropped."""
        self.worker.unhang(patience)
        self.note_now()

    def note_now(self) -> None:
        """Write what has been dropped since the last note, if there is anything."""
        dropped = self.tally.dropped - self._noted
        if dropped:
            self._noted = self.tally.dropped
            record = {"v": 1, "at": self._clock(), "version": self.version.number, "dropped": dropped}
            self._log.write([orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)])

    @staticmethod
    def _lines(attempt: Attempt, outcome: Outcome, answers: list[object]) -> list[bytes]:
        """Give the records of one mirrored request: answers, or how the shadow has failed."""
        job = attempt.job
        record: dict[str, object] = {
            "v": 1,
            "request": job.request,
            "row": 0,
            "model": job.model,
            "at": job.at,
            "unit": logged_unit(job),
            "version": job.version.number,
            "rollout": job.split.rollout,
            "latency_ms": job.latency_ms,
            "cpu_ms": None if job.cost is None else job.cost.cpu_ms,
            "rss_mb": None if job.cost is None else job.cost.rss_mb,
            "error": _trouble(outcome),
        }
        return [
            json_line({**record, "row": row, "prediction": answer})
            for row, answer in enumerate(answers or [None] * len(job.values))
        ]


def _trouble(outcome: Outcome) -> str | None:
    """How a shadow failed; None when it answered."""
    match outcome:
        case Answered():
            return None
        case Failed(error=error):
            return error[:LONGEST_TEXT]
        case ProcessDown(error=error):
            return f"Down: {error}"[:LONGEST_TEXT]
        case Revoked():
            return "Revoked: it was let go before it had answered"


def is_mirrored(split: Split, request: str) -> bool:
    """Whether a request is among those that are mirrored, whoever answers it."""
    if split.mirror in {0.0, 100.0}:  # nobody's place on the ruler is there
        return split.mirror > 0.0
    return assignment_bucket(f"mirror {split.salt}", request) < split.mirror


def shadow_version(split: Split) -> Version | None:
    """The version that is mirrored to under a split, or None."""
    return split.candidate if split.mirror else None
