"""Answer requests with a model's fallback, and record the periods in which a standby or fallback answers.

Law: a rung is asked only for a request that all rungs above it have failed, after they have failed it. The rungs are
the champion, the last proven-good version, and the fallback.
"""

import contextlib
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from surefoot.core.domain import FailoverLevel, Version
from surefoot.core.fallback import PYFUNC_FALLBACK_KIND, FallbackAnswer, FallbackReference
from surefoot.gateway.inference.attempts.attempt import Answered
from surefoot.gateway.inference.attempts.batch_answers import NotATensor, check_tensor
from surefoot.gateway.inference.failover.timed_attempts import TimedAttempts, VersionCounts
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.gateway.log.prediction_log_writer import PredictionLogWriter, prediction_lines
from surefoot.gateway.log.scoring_request import ScoringRequest
from surefoot.models.rows.answer_checks import UNFIT_INPUT_PREFIX

if TYPE_CHECKING:
    from surefoot.gateway.inference.version_pool import VersionPool


@dataclass(slots=True)
class FailoverPeriod:
    """A period in which the standby, or else the fallback, answers callers in place of the champion.

    Attributes:
        champion: The version that failed first.
        kind: Kind of the fallback; "proven_good" where a version answers.
        reason: How the version failed the first request.
        last: Time of the last answer, on the host's monotonic clock [s].
        recovered: The version of a rung above that has answered since then; None when none has.
        standby: The proven-good version that answers; None for the policy's fallback.
    """

    champion: Version
    kind: str
    reason: str
    last: float
    recovered: Version | None = None
    standby: Version | None = None

    def is_over(self, now: float, quiet_s: float) -> bool:
        """Whether a rung above answers again, and this one has answered nothing for so long [s]."""
        return self.recovered is not None and now - self.last >= quiet_s


OpenFailoverPeriods = dict[FailoverLevel, FailoverPeriod]
"""The times of one model that are not over; empty while the champion answers everything."""


class FailoverRecord:
    """Record of the answers of standby or fallback in this worker; its methods belong to the event loop.

    Attributes:
        rung: The rung.
        answered: Requests that it has answered since start [count].
    """

    def __init__(self, rung: FailoverLevel, periods: OpenFailoverPeriods) -> None:
        """Keep the time that is not over among those of the other rungs."""
        self.rung = rung
        self.answered = 0
        self._periods = periods

    @property
    def period(self) -> FailoverPeriod | None:
        """The time of its answers that is not over; None when there is none."""
        return self._periods.get(self.rung)

    @period.setter
    def period(self, period: FailoverPeriod | None) -> None:
        if period is None:
            self._periods.pop(self.rung, None)
        else:
            self._periods[self.rung] = period

    def record_answer(self, champion: Version, kind: str, error: str, standby: Version | None = None) -> None:
        """Count an answer, and begin a time if none lasts."""
        now = time.monotonic()
        period = self.period
        if period is None:
            period = self.period = FailoverPeriod(champion, kind, error, now, standby=standby)
        period.last, period.recovered = now, None
        self.answered += 1


class FallbackAnswers(FailoverRecord):
    """The fallback of one model in this worker; all its methods belong to the event loop.

    Attributes:
        pool: The version that the route names as fallback; None where it names none, or it is not loaded.
    """

    def __init__(
        self,
        model: str,
        settings: GatewaySettings,
        log: PredictionLogWriter,
        periods: OpenFailoverPeriods | None = None,
    ) -> None:
        """Answer by the policy of this model."""
        super().__init__(FailoverLevel.FALLBACK, {} if periods is None else periods)
        self._model, self._settings, self._log = model, settings, log
        self._fallback: FallbackAnswer | FallbackReference | None = None
        self._policy_read = False
        self._attempts = TimedAttempts(settings, defaultdict(VersionCounts))  # its counts are none of the model's
        self.pool: VersionPool | None = None

    def refresh(self) -> bool:
        """Read the policy as it is written now; one that cannot be read leaves the fallback as it was.

        Returns:
            Whether failed requests are answered.
        """
        with contextlib.suppress(KeyError):
            self._fallback = self._settings.fallbacks[self._model]
            self._policy_read = True
        return self._fallback_pool is not None or isinstance(self._fallback, FallbackAnswer)

    @property
    def _fallback_pool(self) -> "VersionPool | None":
        """The version that answers; without a policy since this worker was started, the one that the route names."""
        named = isinstance(self._fallback, FallbackReference) or not self._policy_read
        return self.pool if named else None

    async def answer(self, job: ScoringRequest, champion: Version, error: str) -> tuple[bytes, str] | None:
        """Answer a request that the champion has failed, and record that.

        Args:
            job: The request.
            champion: The version that has failed it.
            error: How.

        Returns:
            JSON list of predictions, and the kind of the fallback; None where the request is to be refused.
        """
        if error.startswith(UNFIT_INPUT_PREFIX) or not self.refresh():
            return None
        if (pool := self._fallback_pool) is not None:
            return await self._ask(pool, job, champion, error)
        fallback = self._fallback
        if not isinstance(fallback, FallbackAnswer):
            return None
        answers = fallback.answers_of(job.names, job.values)
        if job.tensor:
            try:
                check_tensor([orjson.loads(answer) for answer in answers])
            except NotATensor:
                return None
        self.record_answer(champion, fallback.kind, error)
        job.error, job.rung = job.error or error, self.rung
        job.record_latency()
        self._log.write(prediction_lines(job, None, None, fallback.kind, answers))
        return f"[{','.join(answers)}]".encode(), fallback.kind

    async def _ask(
        self, pool: "VersionPool", job: ScoringRequest, champion: Version, error: str
    ) -> tuple[bytes, str] | None:
        """Answer a request by the version that is the fallback; None when it fails too."""
        before = job.error, job.latency_ms
        job.error, job.rung = job.error or error, self.rung
        job.record_latency()
        outcome = await self._attempts.ask(pool, job, last=True)
        if isinstance(outcome, Answered):
            self.record_answer(champion, PYFUNC_FALLBACK_KIND, error)
            return outcome.predictions, PYFUNC_FALLBACK_KIND
        (job.error, job.latency_ms), job.rung = before, None
        return None
