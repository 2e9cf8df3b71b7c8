"""Write predictions and labels to the prediction log as JSON lines; shorten or hide units and errors."""

import hashlib
import logging
from collections.abc import Sequence
from typing import cast

import orjson

from surefoot.core.domain import Arm
from surefoot.gateway import json_body
from surefoot.gateway.log.label_validation import check_label, check_label_time, check_request_id
from surefoot.gateway.log.scoring_request import ScoringRequest
from surefoot.gateway.log.segment_writer import SegmentWriter

__all__ = [
    "PredictionLogWriter",
    "SegmentWriter",
    "json_line",
    "label_lines",
    "logged_error",
    "logged_unit",
    "prediction_lines",
]
_log = logging.getLogger(__name__)
_LABEL_KEYS = {"request", "row", "label", "at"}
MAX_LINE_BYTES = 1 << 20
"""Longest line [bytes], far below what readers can take; what makes one longer is left out."""
_MAX_NAME_BYTES = 1 << 20
"""Names of columns and params, which stand in every row of a request, may take so much in all its lines [bytes]."""
_NAME_BYTES_PER_ROW, _NAME_BYTES_PER_COLUMN = 512, 64
"""They may take more while they take no more than so much in a row, and for each of its columns [bytes]: so the lines
of a request grow as its body does."""
_MAX_TEXT_LENGTH = 1000
"""Longest unit and longest error [characters]."""
_LABEL_TICK_S = 1e-6
"""By how much each label of a report is received after the one before it [s]."""
TOO_LONG, TOO_DEEP = "too long", "too deep"
_DROP_ORDER = ("features", "params", "prediction")
"""What is left out of a line, in this order, until it can be written: a row without params must not be asked again, and
one without features never is."""


class PredictionLogWriter:
    """The prediction log of one model in this process; it never stops the serving.

    Attributes:
        dropped: Records that the disk refused since start [count].
    """

    def __init__(self, segment: SegmentWriter) -> None:
        """Write to this segment."""
        self._segment = segment
        self._failing = False
        self.dropped = 0

    def write(self, lines: list[bytes]) -> None:
        """Append records; when that fails say so once, count them, and let the callers have their answers."""
        try:
            self._segment.append(lines[0] if len(lines) == 1 else b"".join(lines))
        except OSError as error:
            self.dropped += len(lines)
            if not self._failing:
                _log.critical("%s: records are being LOST: %s", self._segment.path, error)
            self._failing = True
            return
        if self._failing:
            _log.warning("%s: records are written again; %d were lost", self._segment.path, self.dropped)
            self._failing = False


def prediction_lines(
    job: ScoringRequest,
    predictions: list[object] | None,
    answered_by: str | None,
    fallback: str = "",
    fallback_answers: Sequence[str] = (),
) -> list[bytes]:
    """Give one JSON line for every row of a request.

    Args:
        job: The request, with what its assigned arm took and how it failed.
        predictions: What the caller gets, or None when no version could answer.
        answered_by: Number of the version that gave it, or None.
        fallback: Kind of the fallback that has answered; empty where a version has, or nothing.
        fallback_answers: What the caller gets instead for each row, as JSON; `prediction` stays null, so that no reader
            takes it for the answer of a version.
    """
    split, redactor, params, cost = job.split, job.redactor, job.options.params, job.cost
    missing = _missing(job) if redactor is not None or len(job.values) > 1 else {}
    written = "features" not in missing
    unit, error = job.unit, job.error
    cpu_ms, rss_mb, model_ms, batch = (None, None, None, None) if cost is None else cost
    record: dict[str, object] = {
        "v": 1,
        "request": job.request,
        "row": 0,
        "model": job.model,
        "at": job.at,
        "unit": unit if unit is None or (redactor is None and len(unit) <= _MAX_TEXT_LENGTH) else logged_unit(job),
        "arm": "candidate" if job.arm is Arm.CANDIDATE else "champion",
        "version": job.version.number,
        "answered_by": answered_by,
        "weight": split.weight_of(unit),
        "generation": split.generation,
        "rollout": split.rollout,
        "latency_ms": job.latency_ms,
        "cpu_ms": cpu_ms,
        "rss_mb": rss_mb,
        "error": None if error is None else logged_error(job, error),
        "params": orjson.Fragment(params) if params and "params" not in missing else None,
        "model_ms": model_ms,
        "batch": batch,
    }
    if missing:
        record["left_out"] = missing
    if job.rung is not None:
        record["rung"] = job.rung
    if fallback:
        record["fallback"] = fallback
    lines = []
    for number, values in enumerate(job.values):
        record["row"] = number
        record["prediction"] = None if predictions is None else predictions[number]
        if fallback:
            record["fallback_answer"] = orjson.Fragment(fallback_answers[number])
        if not written:
            record["features"] = None
        elif job.names is None:
            record["features"] = values
        else:
            features = dict(zip(job.names, values))  # noqa: B905 - decode has counted, and strict costs a third of the line
            record["features"] = features if redactor is None else redactor.redact_row(features)
        try:
            line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
        except orjson.JSONEncodeError:
            line = json_line(record)
        lines.append(line if len(line) <= MAX_LINE_BYTES else json_line(record))
    return lines


def logged_unit(job: ScoringRequest) -> str | None:
    """Give the unit as it is written, in every row: a digest of one that is long or hidden."""
    unit = job.unit if job.redactor is None else job.redactor.redact_unit(job.unit)
    if unit is None or len(unit) <= _MAX_TEXT_LENGTH:
        return unit
    return hashlib.blake2b(unit.encode(), digest_size=12).hexdigest()


def logged_error(job: ScoringRequest, error: str) -> str:
    """Give an error as it is written."""
    return (error if job.redactor is None else job.redactor.logged_error(error))[:_MAX_TEXT_LENGTH]


def _missing(job: ScoringRequest) -> dict[str, str]:
    """Say what is left out of all rows of a request, and why: by the policy, or because each would repeat too much."""
    why = "" if job.redactor is None else job.redactor.omission_reason(job.request, job.names)
    made = {"features": why} if why else {}
    rows = len(job.values)
    if rows > 1:
        enough = max(_MAX_NAME_BYTES // rows, _NAME_BYTES_PER_ROW + _NAME_BYTES_PER_COLUMN * len(job.names or ()))
        params = len(job.options.params)
        if params > enough:
            return {"features": TOO_LONG, "params": TOO_LONG} | made
        if not why and len(orjson.dumps(job.names)) + params > enough:
            return {"features": TOO_LONG}
    return made


def json_line(record: dict[str, object]) -> bytes:
    """The line of any record: numbers as names become texts, and what is too deep or too long to be read is left out.

    It may have been answered even so.
    """
    line, why = _encode(record)
    missing = dict(cast("dict[str, str]", record.get("left_out", {})))
    for field in _DROP_ORDER:
        if not why:
            break
        if record.get(field) is not None:
            missing[field] = why
            record = {**record, field: None, "left_out": missing}
            line, why = _encode(record)
    return line


def _encode(record: dict[str, object]) -> tuple[bytes, str]:
    """The line of a record, and why it cannot be kept; no text when it can."""
    try:
        line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        return b"", TOO_DEEP
    return line, TOO_LONG if len(line) > MAX_LINE_BYTES else ""


def label_lines(body: bytes, now: float) -> list[bytes]:
    """Read a list of labels strictly and give their JSON lines.

    Args:
        body: JSON list of {"request", "row", "label", "at"}; row and at may be left out.
        now: Time of receipt, for labels that do not say when they became known [Unix seconds].

    Raises:
        ValueError: Names the item that is wrong; nothing is to be taken then.
    """
    items = json_body.parse_json_body(body)
    if not isinstance(items, list):
        raise ValueError("labels are a JSON list of objects")  # noqa: TRY004 - one kind of error for one kind of mistake
    lines = []
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise ValueError(f"label {index} is not an object")  # noqa: TRY004 - same
        if strange := item.keys() - _LABEL_KEYS:
            raise ValueError(f"label {index} has the unknown keys {sorted(strange)}")
        request, row = check_request_id(index, item.get("request")), item.get("row", 0)
        if not isinstance(row, int) or isinstance(row, bool) or row < 0:
            raise ValueError(f"label {index} has a row that is not a whole number from 0")
        at = check_label_time(index, item.get("at", now), now)
        # Of two labels of one time the later report counts; so much later each, as far as a float can tell.
        received = now + index * _LABEL_TICK_S
        record = {"v": 1, "request": request, "row": row, "label": item.get("label"), "at": at, "received": received}
        line, why = _encode(record)
        if why:
            raise ValueError(f"label {index} is {why}: at most 250 levels and {MAX_LINE_BYTES} bytes can be kept")
        check_label(index, item.get("label"))
        lines.append(line)
    return lines
