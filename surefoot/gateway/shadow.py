"""A version that is asked what callers asked, after they have been answered; nobody waits for it.

Requests are chosen by a hash before anything else, so that the sample says nothing about how busy anybody was. What the
shadow has no room for is dropped and counted: a dropped request is missing, never an agreement.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import orjson

from surefoot.core.model import Split, Version
from surefoot.core.traffic import bucket
from surefoot.gateway.batch import Worker
from surefoot.gateway.job import Answered, Attempt, Down, Failed, Job, Outcome, Revoked
from surefoot.gateway.record import LONGEST_TEXT, PredictionLog, line_of, unit_of
from surefoot.gateway.settings import GatewaySettings, Predictor

if TYPE_CHECKING:
    import asyncio

LEAST_PAUSE_S, LONGEST_PAUSE_S = 0.001, 1.0
"""Waits between batches of a shadow that fails: the first, doubled with every failure in a row, and the last [s]."""
MOST_TOGETHER = 8
"""Rows that are asked together [count]: what has been asked cannot be taken back when callers become many."""
MANY = 1024
"""Dropped requests that are noted together, at the latest [count]."""


@dataclass(slots=True)
class Tally:
    """What became of mirrored requests since the start; the parts add up to `mirrored` once nothing waits [count]."""

    mirrored: int = 0
    answered: int = 0
    failed: int = 0
    dropped: int = 0


class Shadow:
    """One version that is mirrored to; all its methods belong to the event loop."""

    def __init__(
        self,
        version: Version,
        predictor: Predictor,
        log: PredictionLog,
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
        self.tally = Tally()
        self._log = log
        self._room = settings.shadow_queue
        self._noted = 0
        self._waiting = 0
        self.worker = Worker(version, predictor, log, lambda _version: True, MOST_TOGETHER, self._lines)
        self.worker.calm = True

    def offer(self, job: Job) -> None:
        """Ask what a caller has asked, if there is room for it."""
        tally = self.tally
        tally.mirrored += 1
        if self._waiting >= self._room or self.worker.down:
            tally.dropped += 1
            if tally.dropped - self._noted >= MANY:
                self.note(self._clock())
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
        self.note(self._clock())

    def note(self, at: float) -> None:
        """Write how many have been dropped since the last note."""
        dropped = self.tally.dropped - self._noted
        if dropped:
            self._noted = self.tally.dropped
            record = {"v": 1, "at": at, "version": self.version.number, "dropped": dropped}
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
            "unit": unit_of(job),
            "version": job.version.number,
            "rollout": job.split.rollout,
            "latency_ms": job.latency_ms,
            "cpu_ms": None if job.cost is None else round(job.cost.cpu_ms, 4),
            "rss_mb": None if job.cost is None or job.cost.rss_mb is None else round(job.cost.rss_mb, 2),
            "error": _trouble(outcome),
        }
        return [
            line_of({**record, "row": row, "prediction": answer})
            for row, answer in enumerate(answers or [None] * len(job.values))
        ]


def _trouble(outcome: Outcome) -> str | None:
    """How a shadow failed; None when it answered."""
    match outcome:
        case Answered():
            return None
        case Failed(error=error):
            return error[:LONGEST_TEXT]
        case Down(error=error):
            return f"Down: {error}"[:LONGEST_TEXT]
        case Revoked():
            return "Revoked: it was let go before it had answered"


def mirrored(split: Split, request: str) -> bool:
    """Whether a request is among those that are mirrored, whoever answers it."""
    return split.mirror > 0.0 and bucket(f"mirror {split.salt}", request) < split.mirror


def chosen(split: Split) -> Version | None:
    """The version that is mirrored to under a split, or None."""
    return split.candidate if split.mirror else None
