"""One request on its way through the versions."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from surefoot.core.model import Arm, Split, Version
from surefoot.core.traffic import assign
from surefoot.gateway.settings import Cost


@dataclass(frozen=True, slots=True)
class Answered:
    """A version answered; the record is written."""

    predictions: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """A version could not answer."""

    error: str


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
        rows: What is to be predicted.
        unit: Value of the unit column, or None.
        at: Receipt [Unix seconds].
        started: Receipt on the host's monotonic clock [s].
        split: The split that was in force at receipt.
        arm: The arm that the split assigned.
        version: That arm's version.
        latency_ms: Receipt to the assigned arm's answer or failure [ms]; None until then.
        error: How the assigned arm failed, or None.
        cost: What the assigned arm's answer took; None when it gave none.
        fits: Raises when the answers cannot be told in the caller's protocol.
    """

    model: str
    request: str
    rows: list[dict[str, object]]
    unit: str | None
    at: float
    started: float
    split: Split
    arm: Arm
    version: Version
    latency_ms: float | None = None
    error: str | None = None
    cost: Cost | None = None
    fits: Callable[[list[object]], None] = lambda _answers: None

    def age(self) -> float:
        """Time since receipt [s]."""
        return time.perf_counter() - self.started

    def stop_watch(self) -> None:
        """Note the latency of the assigned arm, the first time only."""
        if self.latency_ms is None:
            self.latency_ms = round(self.age() * 1000.0, 3)


@dataclass(slots=True, eq=False)
class Attempt:
    """One request in the hands of one version.

    Attributes:
        job: The request.
        last: Whether nobody is left to ask after this version.
        settled: Where the outcome arrives.
        retries: How often the process that had it is gone [count].
    """

    job: Job
    last: bool
    settled: asyncio.Future[Outcome]
    retries: int = 0
    _claim: list[None] = field(default_factory=lambda: [None])

    def claim(self) -> bool:
        """Win the right to settle this attempt; exactly one of worker and timer gets it."""
        try:
            self._claim.pop()  # atomic: a list has one last element
        except IndexError:
            return False
        return True

    @property
    def claimed(self) -> bool:
        """Whether somebody has settled this attempt."""
        return not self._claim


def job_for(
    split: Split,
    *,
    model: str,
    request: str,
    rows: list[dict[str, object]],
    column: str | None,
    at: float,
    started: float,
    fits: Callable[[list[object]], None] = lambda _answers: None,
) -> Job:
    """Assign a request to an arm, by the first row's unit or else by the request itself."""
    value = rows[0].get(column) if column is not None else None
    unit = None if value is None else str(value)
    arm = assign(split, request if unit is None else unit)
    version = split.candidate if arm is Arm.CANDIDATE and split.candidate is not None else split.champion
    return Job(model, request, rows, unit, at, started, split, arm, version, fits=fits)
