"""Answer requests that the champion failed, with the standby version or the fallback."""

from typing import TYPE_CHECKING

from surefoot.core.domain import FailoverLevel, Version
from surefoot.gateway.inference.attempts.attempt import Answered
from surefoot.gateway.inference.attempts.caller_answer import CallerAnswer, NotServing, NoVersionAnswered, Overloaded
from surefoot.gateway.inference.failover.fallback_answers import FailoverRecord, FallbackAnswers, OpenFailoverPeriods
from surefoot.gateway.inference.failover.timed_attempts import TimedAttempts
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.gateway.log.prediction_log_writer import PredictionLogWriter, prediction_lines
from surefoot.gateway.log.scoring_request import ScoringRequest
from surefoot.models.rows.answer_checks import UNFIT_INPUT_PREFIX

if TYPE_CHECKING:
    from surefoot.gateway.inference.version_pool import VersionPool


class Failover:
    """The standby and the fallback of one model in this worker; its methods belong to the event loop.

    Attributes:
        standby: The pool of the last proven-good version; None where the route names none, or it is not loaded.
        proven_good: What the standby has answered because the champion failed.
        fallback: Answers requests that neither champion nor standby can answer.
        periods: The times in which a rung below the champion answers; empty while the champion answers everything.
    """

    def __init__(
        self, model: str, settings: GatewaySettings, log: PredictionLogWriter, attempts: TimedAttempts
    ) -> None:
        """Start without a standby."""
        self.standby: VersionPool | None = None
        self.periods: OpenFailoverPeriods = {}
        self.proven_good = FailoverRecord(FailoverLevel.PROVEN_GOOD, self.periods)
        self.fallback = FallbackAnswers(model, settings, log, self.periods)
        self._log, self._attempts = log, attempts

    def record_champion_answer(self, champion: Version) -> None:
        """Note that the champion has answered."""
        for period in self.periods.values():
            period.recovered = champion

    async def answer_with_standby(
        self, job: ScoringRequest, champion: Version, error: str, *, last: bool = True
    ) -> CallerAnswer | None:
        """Answer a request that the champion has failed by the last proven-good version; None when that cannot.

        Args:
            job: The request.
            champion: The version that has failed it.
            error: How it has failed.
            last: Whether the champion is not asked again; without a fallback nothing else can answer then.
        """
        pool = self.standby
        if pool is None or pool.version == champion or error.startswith(UNFIT_INPUT_PREFIX):
            return None
        before = job.error, job.latency_ms
        job.error, job.rung = job.error or error, FailoverLevel.PROVEN_GOOD
        job.record_latency()
        outcome = await self._attempts.ask(pool, job, last=last and not self.fallback.refresh())
        if isinstance(outcome, Answered):
            self.proven_good.record_answer(champion, FailoverLevel.PROVEN_GOOD, error, pool.version)
            if self.fallback.period is not None:
                self.fallback.period.recovered = pool.version
            return CallerAnswer(outcome.predictions, pool.version.number, job)
        (job.error, job.latency_ms), job.rung = before, None
        return None

    async def answer_with_fallback(
        self, job: ScoringRequest, champion: Version, error: str, refusal: NotServing | Overloaded | NoVersionAnswered
    ) -> CallerAnswer:
        """Answer a request that champion and standby have failed by the fallback, or record the failure and refuse it.

        Args:
            job: The request.
            champion: The version that has failed it.
            error: How it has failed.
            refusal: What is raised where there is no fallback.
        """
        answer = await self.fallback.answer(job, champion, error)
        if answer is not None:
            return CallerAnswer(answer[0], "", job, answer[1])
        # Without a version that was asked there is nothing to say of one.
        if job.error is not None and not isinstance(refusal, NotServing):
            self._log.write(prediction_lines(job, None, None))
        raise refusal
