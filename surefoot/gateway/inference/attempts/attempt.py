"""Define a version's attempt to answer a request, which ends as answered, failed, process down or revoked."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from surefoot.gateway.log.scoring_request import ScoringRequest
from surefoot.models.rows.answer_checks import describe_error


@dataclass(frozen=True, slots=True)
class Answered:
    """A version answered; the record is written.

    Attributes:
        predictions: JSON list of one answer a row.
        by: Number of the version.
    """

    predictions: bytes
    by: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A version could not answer.

    Attributes:
        error: Why.
        asked: Whether the version was really asked; false where it is being started again, or has too much to do.
    """

    error: str
    asked: bool = True


@dataclass(frozen=True, slots=True)
class ProcessDown:
    """The version's process is gone and cannot be started again just now."""

    error: str


@dataclass(frozen=True, slots=True)
class Revoked:
    """The version was taken out of the route before its answer was released."""


AttemptOutcome = Answered | Failed | ProcessDown | Revoked


@dataclass(slots=True, eq=False)
class Attempt:
    """One request that one version is to answer; it belongs to the event loop.

    Attributes:
        job: The request.
        last: Whether no other version is asked after this one.
        settled: Where the outcome arrives.
        retries: How often the process that had it is gone [count].
        claimed: Whether this attempt is settled, or about to be.
    """

    job: ScoringRequest
    last: bool
    settled: asyncio.Future[AttemptOutcome]
    retries: int = 0
    claimed: bool = False

    def claim(self) -> bool:
        """Take the right to settle this attempt; exactly one of replica and timer gets it."""
        won, self.claimed = not self.claimed, True
        return won


SettledAttempt = tuple[Attempt, AttemptOutcome, list[object]]
AttemptRecordBuilder = Callable[[Attempt, AttemptOutcome, list[object]], list[bytes]]
"""Gives the log's records of an outcome with its answers."""


def fail_attempts(batch: Sequence[Attempt], error: Exception) -> None:
    """Fail every attempt of a batch that is still waited for; nothing of it is recorded."""
    for attempt in batch:
        attempt.claim()
        if not attempt.settled.done():
            attempt.settled.set_result(Failed(describe_error(error), asked=False))
