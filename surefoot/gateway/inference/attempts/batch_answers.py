"""Split the answers to a batch among its requests, and check answers that must form a tensor."""

from collections.abc import Sequence

import orjson

from surefoot.gateway.inference.attempts.attempt import Answered, Attempt, Failed, SettledAttempt
from surefoot.models.rows.answer_checks import describe_error


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


def split_batch_answers(batch: Sequence[Attempt], answers: list[object], by: str) -> list[SettledAttempt]:
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
