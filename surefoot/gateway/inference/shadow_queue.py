"""Mirror answered requests to a shadow version while the host is idle.

Requests are asked one at a time: what has been asked cannot be taken back when callers become many, and what an answer
takes can be compared with what the champion took for it, which the rows of a batch would share.

Requests are chosen by a hash before anything else, so that the sample does not depend on how busy the host was. What
the shadow has no room for is dropped and counted: a dropped request is missing, never an agreement.
"""

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import orjson

from surefoot.core.assignment import compute_assignment_bucket
from surefoot.core.domain import Split, Version
from surefoot.core.ports import Clock
from surefoot.gateway.inference.attempts.attempt import Answered, AttemptOutcome, Revoked
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.gateway.inference.version_pool import VersionPool
from surefoot.gateway.log.prediction_log_writer import PredictionLogWriter
from surefoot.gateway.log.scoring_request import ScoringRequest
from surefoot.models.model_protocols import Predictor

if TYPE_CHECKING:
    import asyncio

_MIN_PAUSE_S, _MAX_PAUSE_S = 0.001, 1.0
"""Pauses between batches of a shadow that fails: the first, doubled with every failure in a row, and the last [s]."""
MAX_ALLOWED_BATCHES = 1024
"""Batches that are allowed at once, until idle time is measured again [count]."""
_MANY_DROPPED = 1024
"""So many dropped requests are recorded when idle time is measured next [count]; fewer once a second."""


@dataclass(slots=True)
class ShadowCounts:
    """What became of mirrored requests since the start; the parts add up to `mirrored` once nothing waits [count]."""

    mirrored: int = 0
    answered: int = 0
    failed: int = 0
    dropped: int = 0


class ShadowQueue:
    """Requests that are mirrored to one version; all its methods belong to the event loop.

    Attributes:
        version: The version that is asked.
        pool: Its queue and processes.
        counts: What became of mirrored requests.
    """

    def __init__(
        self, version: Version, predictor: Predictor, log: PredictionLogWriter, settings: GatewaySettings, clock: Clock
    ) -> None:
        """Start with nothing mirrored.

        Args:
            version: The version that is asked.
            predictor: The loaded version, in a process of low priority.
            log: Where its answers are recorded (docs/record-schema.md).
            settings: Settings of the gateway.
            clock: Gives the times of the records.
        """
        self.version = version
        self.counts = ShadowCounts()
        self.pool = VersionPool(version, predictor, log, None, 1, background=True)
        self._clock = clock
        self._log = log
        self._capacity = settings.shadow_queue
        self._recorded_drops = 0
        self._waiting = 0
        self._granted, self._had_waiting = 0, False
        self._split: Split | None = None
        self._in_split = False

    def set_allowance(self, *, host_idle: bool) -> None:
        """Allow batches until idle time is measured again: none, or one, or twice as many as were asked.

        The first is allowed when a request has waited since the last measurement: when callers come after a quiet time,
        the idle time before says nothing of whether the host can serve the shadow as well.
        """
        pool, waits = self.pool, self.pool.queued > 0
        asked = int(self._granted - pool.batch_allowance)
        if not host_idle:
            self._granted = 0
        elif asked:
            self._granted = min(asked * 2, MAX_ALLOWED_BATCHES)
        elif pool.busy_seconds() <= 0.0:  # else it is at one that was allowed before
            self._granted = int(pool.is_down or (waits and self._had_waiting))
        self._had_waiting = waits
        pool.batch_allowance = self._granted
        if self.counts.dropped - self._recorded_drops >= _MANY_DROPPED:
            self.record_drops()

    def close(self) -> None:
        """Drop what waits, and kill the process: no caller waits for it, and it would take processor time."""
        self.pool.stop()
        self.pool.settle_queued(Revoked())
        self.pool.kill()
        self.record_drops()

    def accepts(self, job: ScoringRequest) -> bool:
        """Whether a request is to be mirrored when its caller has been answered; one without room is counted.

        Every request comes here, and on a busy host nearly all of them are dropped: that must cost next to nothing.
        """
        split = job.split
        if split is not self._split:
            self.record_drops()  # those of the split before are its own
            self._split, self._in_split = split, split.candidate == self.version
        if not self._in_split or not _is_mirrored(split, job.request):
            return False
        if self._waiting < self._capacity and not self.pool.is_down:
            return True
        self.counts.mirrored += 1
        self.counts.dropped += 1
        return False

    def submit(self, job: ScoringRequest) -> None:
        """Ask what a caller has asked, if there is still room for it."""
        self.counts.mirrored += 1
        if self._waiting >= self._capacity or self.pool.is_down or self.pool.stopping:
            self.counts.dropped += 1
            if self.pool.stopping:
                self.record_drops()  # no timer does so after the end
            return
        self._waiting += 1
        own = replace(job, version=self.version, latency_ms=None, error=None, cost=None, tensor=False)
        own.restart_timer()
        self.pool.submit(own, last=False).settled.add_done_callback(self._count_outcome)

    def _count_outcome(self, outcome: "asyncio.Future[AttemptOutcome]") -> None:
        self._waiting -= 1
        if isinstance(outcome.result(), Answered):
            self.counts.answered += 1
            self.pool.pause_s = 0.0
        else:
            self.counts.failed += 1
            # A batch that fails is asked again in halves: one that always fails would cost more than one that answers.
            self.pool.pause_s = min(self.pool.pause_s * 2.0 or _MIN_PAUSE_S, _MAX_PAUSE_S)

    def stats(self) -> dict[str, object]:
        """Give the counts for `/stats`."""
        return {
            "version": self.version.number,
            **asdict(self.counts),
            "waiting": self._waiting,
            **self.pool.resource_stats(),
        }

    def kill_hung(self, patience: float) -> None:
        """Kill its process when one batch has taken longer than this [s], and record what was dropped."""
        self.pool.kill_hung(patience)
        self.record_drops()

    def record_drops(self) -> None:
        """Record how many requests have been dropped since the last record, if there are any."""
        dropped = self.counts.dropped - self._recorded_drops
        if dropped:
            self._recorded_drops = self.counts.dropped
            record = {
                "v": 1,
                "at": self._clock.now(),
                "version": self.version.number,
                "rollout": "" if self._split is None else self._split.rollout,
                "dropped": dropped,
            }
            self._log.write([orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)])


def _is_mirrored(split: Split, request: str) -> bool:
    """Whether a request is among those that are mirrored, whichever version answers it."""
    if split.mirror in {0.0, 100.0}:  # no bucket decides
        return split.mirror > 0.0
    return compute_assignment_bucket(f"mirror {split.salt}", request) < split.mirror


def mirrored_version(split: Split) -> Version | None:
    """Give the version that requests are mirrored to under a split, or None."""
    return split.candidate if split.mirror else None
