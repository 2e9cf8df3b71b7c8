"""Give the policy's fallback answer to requests that no version can answer, and record since when.

Law: a fallback is asked only for a request that the champion has failed, after the champion has failed it.
"""

import contextlib
import time
from dataclasses import dataclass

import orjson

from surefoot.core.domain import FallbackAnswer, Version
from surefoot.gateway.inference.request_attempts import NotATensor, check_tensor
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.gateway.log.record import PredictionLogWriter, record_lines
from surefoot.gateway.log.scoring_request import ScoringRequest
from surefoot.models.rows.answer_checks import UNFIT_INPUT_PREFIX


@dataclass(slots=True)
class FallbackPeriod:
    """A time in which callers get fallback answers.

    Attributes:
        champion: The version that failed first.
        kind: Kind of the fallback.
        reason: How the version failed the first request.
        last: Time of the last fallback answer, on the host's monotonic clock [s].
        recovered: The champion that has answered since then; None when none has.
    """

    champion: Version
    kind: str
    reason: str
    last: float
    recovered: Version | None = None

    def is_over(self, now: float, quiet_s: float) -> bool:
        """Whether the champion answers again, and the fallback has answered nothing for so long [s]."""
        return self.recovered is not None and now - self.last >= quiet_s


class FallbackAnswers:
    """The fallback of one model in this worker; all its methods belong to the event loop.

    Attributes:
        answered: Requests that it has answered since start [count].
        period: The time of fallback answers that is not over; None while the champion answers everything.
    """

    def __init__(self, model: str, settings: GatewaySettings, log: PredictionLogWriter) -> None:
        """Answer by the policy of this model."""
        self.answered = 0
        self.period: FallbackPeriod | None = None
        self._model, self._settings, self._log = model, settings, log
        self._fallback: FallbackAnswer | None = None

    def refresh(self) -> bool:
        """Read the policy as it is written now; one that cannot be read leaves the fallback as it was.

        Returns:
            Whether failed requests are answered.
        """
        with contextlib.suppress(KeyError):
            self._fallback = self._settings.fallbacks[self._model]
        return self._fallback is not None

    def answer(self, job: ScoringRequest, champion: Version, error: str) -> tuple[bytes, str] | None:
        """Answer a request that the champion has failed, and record that.

        Args:
            job: The request.
            champion: The version that has failed it.
            error: How.

        Returns:
            JSON list of predictions, and the kind of the fallback; None where the request is to be refused.
        """
        if error.startswith(UNFIT_INPUT_PREFIX) or not self.refresh() or (fallback := self._fallback) is None:
            return None
        rows = len(job.values)
        if job.tensor:
            try:
                check_tensor([orjson.loads(fallback.json)] * rows)
            except NotATensor:
                return None
        now = time.monotonic()
        if self.period is None:
            self.period = FallbackPeriod(champion, fallback.kind, error, now)
        self.period.last, self.period.recovered = now, None
        self.answered += 1
        job.error = job.error or error
        job.record_latency()
        self._log.write(record_lines(job, None, None, fallback))
        return b"[" + b",".join([fallback.json.encode()] * rows) + b"]", fallback.kind
