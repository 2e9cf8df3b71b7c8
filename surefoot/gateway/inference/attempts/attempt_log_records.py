"""Build the prediction-log records of what a version, a fallback or a shadow version answered."""

import orjson

from surefoot.core.fallback import PYFUNC_FALLBACK_KIND
from surefoot.gateway.inference.attempts.attempt import Answered, Attempt, AttemptOutcome, Failed, ProcessDown, Revoked
from surefoot.gateway.log.prediction_log_writer import json_line, logged_error, logged_unit, prediction_lines


def build_caller_records(attempt: Attempt, outcome: AttemptOutcome, answers: list[object]) -> list[bytes]:
    """Give the records of answers; of a failure none: another version or a fallback is still to be asked."""
    return prediction_lines(attempt.job, answers, outcome.by) if isinstance(outcome, Answered) else []


def build_fallback_records(attempt: Attempt, outcome: AttemptOutcome, answers: list[object]) -> list[bytes]:
    """Give the records of what the fallback's version has answered: it is no answer of the model's own versions."""
    if not isinstance(outcome, Answered):
        return []
    return prediction_lines(
        attempt.job, None, None, PYFUNC_FALLBACK_KIND, [orjson.dumps(one).decode() for one in answers]
    )


def build_shadow_records(attempt: Attempt, outcome: AttemptOutcome, answers: list[object]) -> list[bytes]:
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
        "error": None if (error := _shadow_error(outcome)) is None else logged_error(job, error),
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
            return error
        case ProcessDown(error=error):
            return f"Down: {error}"
        case Revoked():
            return "Revoked: it was let go before it had answered"
