"""One request on its way through the versions."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from surefoot.core.model import Arm, Split, Version
from surefoot.core.scalar import canonical_text
from surefoot.core.traffic import assign
from surefoot.gateway.keeping import Keeping
from surefoot.gateway.record import lines_of
from surefoot.models.answers import describe
from surefoot.models.contract import PLAIN, Cost, Manner, Names


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
class Down:
    """The version's process is gone and cannot be started again just now."""

    error: str


@dataclass(frozen=True, slots=True)
class Revoked:
    """The version was taken out of the route before its answer was released."""


Outcome = Answered | Failed | Down | Revoked


@dataclass(slots=True, eq=False)
class Job:
    """One request on its way through one version, and perhaps a second one.

    Attributes:
        model: Registered model.
        request: Id of the request.
        names: Columns of the rows; None for bare arrays.
        values: What is to be predicted, a list of values a row.
        unit: Value of the unit column, or None.
        at: Receipt [Unix seconds].
        started: Receipt on the host's monotonic clock [s].
        split: The split that was in force at receipt.
        arm: The arm that the split assigned.
        version: That arm's version.
        latency_ms: Receipt to the assigned arm's answer or failure [ms]; None until then.
        error: How the assigned arm failed, or None.
        cost: What the assigned arm's answer took; None when it gave none.
        fits: Raises when the answers cannot be told in the caller's protocol; None where every answer can.
        keeping: Prepares the rows for the log; None where all of it is kept.
        manner: What the model is told beside the rows.
    """

    model: str
    request: str
    names: Names
    values: list[list[object]]
    unit: str | None
    at: float
    started: float
    split: Split
    arm: Arm
    version: Version
    latency_ms: float | None = None
    error: str | None = None
    cost: Cost | None = None
    fits: Callable[[list[object]], None] | None = None
    keeping: Keeping | None = None
    manner: Manner = PLAIN

    def age(self) -> float:
        """Time since receipt [s]."""
        return time.perf_counter() - self.started

    def restart(self) -> None:
        """Count the age from now on."""
        self.started = time.perf_counter()

    def stop_watch(self) -> None:
        """Note the latency of the assigned arm, the first time only."""
        if self.latency_ms is None:
            self.latency_ms = int(self.age() * 1e6) / 1e3


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

    job: Job
    last: bool
    settled: asyncio.Future[Outcome]
    retries: int = 0
    claimed: bool = False

    def claim(self) -> bool:
        """Win the right to settle this attempt; exactly one of lane and timer gets it."""
        won, self.claimed = not self.claimed, True
        return won


Settled = tuple[Attempt, Outcome, list[object]]


def abandon(batch: Sequence[Attempt], error: Exception) -> None:
    """Tell everybody who still waits for one of these that it has failed; nothing of it is recorded."""
    for attempt in batch:
        attempt.claim()
        if not attempt.settled.done():
            attempt.settled.set_result(Failed(describe(error), asked=False))


def dealt(batch: Sequence[Attempt], answers: list[object], by: str) -> list[Settled]:
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
                made.append((attempt, Failed(describe(error)), []))
                continue
        made.append((attempt, Answered(orjson.dumps(own), by), own))
    return made


def job_for(
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
    keeping: Keeping | None = None,
    manner: Manner = PLAIN,
) -> Job:
    """Assign a request to an arm, by the first row's unit; one whose unit is missing or empty, by its own id."""
    unit = None
    if column is not None and names is not None and column in (texts := _texts(names, column)):
        value = values[0][texts.index(column)]
        # A list or an object names nobody, and may be nested deeper than it can be made a text of.
        unit = None if isinstance(value, list | dict) else canonical_text(value)
    arm = assign(split, request if unit is None else unit)
    version = split.candidate if arm is Arm.CANDIDATE and split.candidate is not None else split.champion
    return Job(
        model, request, names, values, unit, at, started, split, arm, version, None, None, None, fits, keeping, manner
    )


def _texts(names: tuple[str | int | float, ...], column: str) -> tuple[object, ...]:
    """Columns as the log names them, where that makes a difference for this one."""
    return names if column in names else tuple(map(str, names))


def callers_lines(attempt: Attempt, outcome: Outcome, answers: list[object]) -> list[bytes]:
    """Records of what a caller got; none while somebody else is still to be asked."""
    job = attempt.job
    if isinstance(outcome, Answered):
        return lines_of(job, answers, outcome.by)
    if isinstance(outcome, Failed) and attempt.last:
        job.error = job.error or outcome.error
        return lines_of(job, None, None)
    return []
