"""Ask a version to answer within a time limit, count late answers as failures, and limit how long it may hang."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass

from surefoot.gateway.inference.attempts.attempt import Attempt, AttemptOutcome, Failed
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.gateway.inference.version_pool import VersionPool
from surefoot.gateway.log.scoring_request import ScoringRequest

_HANG_FACTOR = 10.0
"""A process is killed when one batch takes so many times the limit."""
MIN_HANG_S = 5.0
"""A process is not killed before it has been at one batch for so long [s]."""


@dataclass(slots=True)
class VersionCounts:
    """Requests of one version since the gateway started [count]."""

    requests: int = 0
    candidate_requests: int = 0
    candidate_errors: int = 0
    late: int = 0
    caller_errors: int = 0


def hang_time_limit(settings: GatewaySettings) -> float:
    """How long a process may be at one batch before it is killed, where another version can answer [s]."""
    return max(settings.candidate_timeout_s * _HANG_FACTOR, MIN_HANG_S)


class TimedAttempts:
    """Asks versions within a time limit; its methods belong to the event loop."""

    def __init__(self, settings: GatewaySettings, counts: defaultdict[str, VersionCounts]) -> None:
        """Ask with these settings, and count what is late by version number."""
        self._settings, self._counts = settings, counts

    async def ask(self, pool: VersionPool, job: ScoringRequest, *, last: bool = False) -> AttemptOutcome:
        """Ask a version; it has failed when it hangs, has too much to do, or does not answer in time.

        Args:
            pool: The version.
            job: The request.
            last: Whether nothing else can answer the request. It then waits as long as for a champion, and for a
                process that is being started again: a refusal would come earlier, and be of less use.
        """
        timeout = self._settings.champion_timeout_s if last else self._settings.candidate_timeout_s
        if pool.is_down and not last:
            return Failed("Down: its process has ended and is being started again", asked=False)
        pool.kill_hung(timeout if last else hang_time_limit(self._settings))
        if not last and pool.busy_seconds() > timeout:  # it hangs: no other request waits for it
            self._counts[pool.version.number].late += 1
            return Failed(f"Late: still busy after {timeout * 1000:.0f} ms with earlier requests")
        if pool.queued >= self._settings.max_queue:
            return Failed(f"Overloaded: {pool.queued} requests wait for this version", asked=False)
        attempt = pool.submit(job, last=last)
        timer = asyncio.get_running_loop().call_later(timeout, self._time_out, attempt, pool.version.number, timeout)
        try:
            return await attempt.settled
        finally:
            timer.cancel()

    def _time_out(self, attempt: Attempt, number: str, limit: float) -> None:
        if attempt.claim() and not attempt.settled.done():
            self._counts[number].late += 1
            attempt.settled.set_result(Failed(f"Late: no answer within {limit * 1000:.0f} ms"))
