"""A version's attempt to answer a request, and the outcome of that attempt."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from surefoot.core.assignment import assign_arm
from surefoot.core.canonical_text import canonical_text
from surefoot.core.domain import Arm, Split
from surefoot.gateway.log.record import record_lines
from surefoot.gateway.log.redaction import LogRedactor
from surefoot.gateway.log.request import InferenceRequest
from surefoot.models.answers import describe_error
from surefoot.models.contract import NO_OPTIONS, Names, RequestOptions


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


Outcome = Answered | Failed | ProcessDown | Revoked


@dataclass(slots=True, eq=False)
class Attempt:
    """One request in the hands of one version; it belongs to the event loop.

    Attributes:
        job: The request.
        last: Whether nobody is left to ask after this version.
        settled: Where the outcome arrives.
        retries: How often the process that had it is gone [count].
        claimed: Whether somebody has settled this attempt.
    """

    job: InferenceRequest
    last: bool
    settled: asyncio.Future[Outcome]
    retries: int = 0
    claimed: bool = False

    def claim(self) -> bool:
        """Win the right to settle this attempt; exactly one of lane and timer gets it."""
        won, self.claimed = not self.claimed, True
        return won


Settled = tuple[Attempt, Outcome, list[object]]


def fail_waiting(batch: Sequence[Attempt], error: Exception) -> None:
    """Tell everybody who still waits for one of these that it has failed; nothing of it is recorded."""
    for attempt in batch:
        attempt.claim()
        if not attempt.settled.done():
            attempt.settled.set_result(Failed(describe_error(error), asked=False))


def split_answers(batch: Sequence[Attempt], answers: list[object], by: str) -> list[Settled]:
    """Give every request its own answers, in order."""
    made: list[Settled] = []
    start = 0
    for attempt in batch:
        job = attempt.job
        end = start + len(job.values)
        own = answers[start:end]
        start = end
        if job.fits is not None:
            try:
                job.fits(own)
            except ValueError as error:
                made.append((attempt, Failed(describe_error(error)), []))
                continue
        made.append((attempt, Answered(orjson.dumps(own), by), own))
    return made


def new_request(
    split: Split,
    *,
    model: str,
    request: str,
    names: Names,
    values: list[list[object]],
    column: str | None,
    at: float,
    started: float,
    fits: Callable[[list[object]], None] | None = None,
    redactor: LogRedactor | None = None,
    options: RequestOptions = NO_OPTIONS,
) -> InferenceRequest:
    """Assign a request to an arm, by the first row's unit; one whose unit is missing or empty, by its own id."""
    unit = None
    if column is not None and names is not None and column in (texts := _texts(names, column)):
        value = values[0][texts.index(column)]
        # A list or an object names nobody, and may be nested deeper than it can be made a text of.
        unit = None if isinstance(value, list | dict) else canonical_text(value)
    arm = assign_arm(split, request if unit is None else unit)
    version = split.candidate if arm is Arm.CANDIDATE and split.candidate is not None else split.champion
    return InferenceRequest(
        model, request, names, values, unit, at, started, split, arm, version, None, None, None, fits, redactor, options
    )


def _texts(names: tuple[str | int | float, ...], column: str) -> tuple[object, ...]:
    """Columns as the log names them, where that makes a difference for this one."""
    return names if column in names else tuple(map(str, names))


def caller_records(attempt: Attempt, outcome: Outcome, answers: list[object]) -> list[bytes]:
    """Records of what a caller got; none while somebody else is still to be asked."""
    job = attempt.job
    if isinstance(outcome, Answered):
        return record_lines(job, answers, outcome.by)
    if isinstance(outcome, Failed) and attempt.last:
        job.error = job.error or outcome.error
        return record_lines(job, None, None)
    return []
