"""Define attempts to answer a request and their outcomes, and convert the outcomes to log records."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from surefoot.core.assignment import assign_arm
from surefoot.core.canonical_text import canonical_text
from surefoot.core.domain import Arm, Rung, Split
from surefoot.gateway.log.record import MAX_TEXT_LENGTH, json_line, logged_unit, record_lines
from surefoot.gateway.log.redaction import LogRedactor
from surefoot.gateway.log.scoring_request import ScoringRequest
from surefoot.models.predictor import NO_OPTIONS, ColumnNames, RequestOptions
from surefoot.models.rows.answer_checks import describe_error


class NotServing(Exception):
    """The model has no loaded champion."""


class Overloaded(Exception):
    """More requests wait than the queue may hold."""


class CallerError(Exception):
    """No version could answer this request."""


@dataclass(slots=True)
class CallerAnswer:
    """What the caller gets.

    Attributes:
        predictions: JSON list of predictions.
        answered_by: Number of the version that gave it; empty for a fallback answer.
        job: The request.
        fallback: Kind of the fallback that gave it; empty when a version did.
    """

    predictions: bytes
    answered_by: str
    job: ScoringRequest
    fallback: str = ""

    @property
    def rung(self) -> Rung | None:
        """What answered because the champion failed; None when champion or candidate answered."""
        return self.job.rung


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


def fail_waiting(batch: Sequence[Attempt], error: Exception) -> None:
    """Fail every attempt of a batch that is still waited for; nothing of it is recorded."""
    for attempt in batch:
        attempt.claim()
        if not attempt.settled.done():
            attempt.settled.set_result(Failed(describe_error(error), asked=False))


class NotATensor(ValueError):
    """The answers of a model cannot be one tensor."""


_PLAIN = {int, float, str, bool}


def check_tensor(values: list[object]) -> None:
    """Check that answers can be one tensor.

    Raises:
        NotATensor: They are objects, or rows of different lengths.
    """
    nested = [value for value in values if isinstance(value, list)]
    flat = [item for value in nested for item in value] if nested else values
    widths = {len(value) for value in nested}
    if (nested and (len(nested) != len(values) or len(widths) != 1)) or {type(item) for item in flat} - _PLAIN:
        raise NotATensor("the answers are no tensor; ask this model at /invocations")


def split_answers(batch: Sequence[Attempt], answers: list[object], by: str) -> list[SettledAttempt]:
    """Give every request its own answers, in order."""
    made: list[SettledAttempt] = []
    start = 0
    for attempt in batch:
        job = attempt.job
        end = start + len(job.values)
        own = answers[start:end]
        start = end
        if job.tensor:
            try:
                check_tensor(own)
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
    names: ColumnNames,
    values: list[list[object]],
    column: str | None,
    at: float,
    started: float,
    tensor: bool = False,
    redactor: LogRedactor | None = None,
    options: RequestOptions = NO_OPTIONS,
) -> ScoringRequest:
    """Assign a request to an arm, by the first row's unit; one whose unit is missing or empty, by its own id."""
    unit = None
    if column is not None and names is not None and column in (texts := _texts(names, column)):
        value = values[0][texts.index(column)]
        # A list or an object is no unit, and may be nested too deeply to become a text.
        unit = None if isinstance(value, list | dict) else canonical_text(value)
    arm = assign_arm(split, request if unit is None else unit)
    version = split.candidate if arm is Arm.CANDIDATE and split.candidate is not None else split.champion
    return ScoringRequest(
        model,
        request,
        names,
        values,
        unit,
        at,
        started,
        split,
        arm,
        version,
        None,
        None,
        None,
        tensor,
        redactor,
        options,
    )


def _texts(names: tuple[str | int | float, ...], column: str) -> tuple[object, ...]:
    """Give columns as the log names them, where that makes a difference for this column."""
    return names if column in names else tuple(map(str, names))


def caller_records(attempt: Attempt, outcome: AttemptOutcome, answers: list[object]) -> list[bytes]:
    """Give the records of answers; of a failure none: another version or a fallback is still to be asked."""
    return record_lines(attempt.job, answers, outcome.by) if isinstance(outcome, Answered) else []


def shadow_records(attempt: Attempt, outcome: AttemptOutcome, answers: list[object]) -> list[bytes]:
    """Give the records of one mirrored request: answers, or how the shadow has failed."""
    job = attempt.job
    cpu_ms, rss_mb, model_ms, batch = (None, None, None, None) if job.cost is None else job.cost
    record: dict[str, object] = {
        "v": 1,
        "request": job.request,
        "row": 0,
        "model": job.model,
        "at": job.at,
        "unit": logged_unit(job),
        "version": job.version.number,
        "rollout": job.split.rollout,
        "latency_ms": job.latency_ms,
        "cpu_ms": cpu_ms,
        "rss_mb": rss_mb,
        "error": _shadow_error(outcome),
        "model_ms": model_ms,
        "batch": batch,
    }
    return [
        json_line({**record, "row": row, "prediction": answer})
        for row, answer in enumerate(answers or [None] * len(job.values))
    ]


def _shadow_error(outcome: AttemptOutcome) -> str | None:
    """Say how a shadow failed; None when it answered."""
    match outcome:
        case Answered():
            return None
        case Failed(error=error):
            return error[:MAX_TEXT_LENGTH]
        case ProcessDown(error=error):
            return f"Down: {error}"[:MAX_TEXT_LENGTH]
        case Revoked():
            return "Revoked: it was let go before it had answered"
