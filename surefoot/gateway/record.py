"""What is remembered of every answer: append-only JSON lines (docs/record-schema.md)."""

import logging
import math
from typing import TYPE_CHECKING

import orjson

from surefoot.gateway.segment import Segment

if TYPE_CHECKING:
    from surefoot.gateway.job import Job

__all__ = ["PredictionLog", "Segment", "label_lines", "lines_of"]
_log = logging.getLogger(__name__)
_LABEL_KEYS = {"request", "row", "label", "at"}


class PredictionLog:
    """The prediction log of one model in this process; it never stops the serving.

    Attributes:
        dropped: Records that the disk refused since start [count].
    """

    def __init__(self, segment: Segment) -> None:
        """Write to this segment."""
        self._segment = segment
        self._failing = False
        self.dropped = 0

    def write(self, lines: list[bytes]) -> None:
        """Append records; when that fails say so once, count them, and let the callers have their answers."""
        try:
            self._segment.append(b"".join(lines))
        except OSError as error:
            self.dropped += len(lines)
            if not self._failing:
                _log.critical("%s: records are being LOST: %s", self._segment.path, error)
            self._failing = True
            return
        if self._failing:
            _log.warning("%s: records are written again; %d were lost", self._segment.path, self.dropped)
            self._failing = False


def lines_of(job: "Job", predictions: list[object] | None, answered_by: str | None) -> list[bytes]:
    """Give one JSON line for every row of a request.

    Args:
        job: The request, with what its assigned arm took and how it failed.
        predictions: What the caller gets, or None when nobody could answer.
        answered_by: Number of the version that gave it, or None.
    """
    split, keeping = job.split, job.keeping
    written = keeping is None or keeping.sampled(job.request)
    record: dict[str, object] = {
        "v": 1,
        "request": job.request,
        "row": 0,
        "model": job.model,
        "at": job.at,
        "unit": job.unit if keeping is None else keeping.unit(job.unit),
        "arm": job.arm.value,
        "version": job.version.number,
        "answered_by": answered_by,
        "weight": split.weight,
        "generation": split.generation,
        "rollout": split.rollout,
        "latency_ms": job.latency_ms,
        "cpu_ms": None if job.cost is None else round(job.cost.cpu_ms, 4),
        "rss_mb": None if job.cost is None or job.cost.rss_mb is None else round(job.cost.rss_mb, 2),
        "error": job.error,
        "params": orjson.Fragment(job.manner.params) if job.manner.params else None,
    }
    lines = []
    for number, values in enumerate(job.values):
        record["row"] = number
        record["prediction"] = None if predictions is None else predictions[number]
        if not written:
            record["features"] = None
        elif job.names is None:
            record["features"] = values
        else:
            features = dict(zip(job.names, values))  # noqa: B905 - decode has counted, and strict costs a third of the line
            record["features"] = features if keeping is None else keeping.row(features)
        try:
            line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
        except orjson.JSONEncodeError:
            line = _odd(record)
        lines.append(line)
    return lines


def _odd(record: dict[str, object]) -> bytes:
    """The line of a row whose columns have numbers for names, which become texts, or that is nested too deeply."""
    try:
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:  # deeper than JSON can be written, and still it may have been answered
        return orjson.dumps({**record, "features": None}, option=orjson.OPT_APPEND_NEWLINE)


def label_lines(body: bytes, now: float) -> list[bytes]:
    """Read a list of labels strictly and give their JSON lines.

    Args:
        body: JSON list of {"request", "row", "label", "at"}; row and at may be left out.
        now: Time of receipt, for labels that do not say when they became known [Unix seconds].

    Raises:
        ValueError: Names the item that is wrong; nothing is to be taken then.
    """
    try:
        items = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the body is not JSON: {error}") from None
    if not isinstance(items, list):
        raise ValueError("labels are a JSON list of objects")  # noqa: TRY004 - one kind of error for one kind of mistake
    lines = []
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise ValueError(f"label {index} is not an object")  # noqa: TRY004 - same
        if strange := item.keys() - _LABEL_KEYS:
            raise ValueError(f"label {index} has the unknown keys {sorted(strange)}")
        request, row, at = item.get("request"), item.get("row", 0), item.get("at", now)
        if not isinstance(request, str) or not request:
            raise ValueError(f"label {index} does not name its request")
        if not isinstance(row, int) or isinstance(row, bool) or row < 0:
            raise ValueError(f"label {index} has a row that is not a whole number from 0")
        if item.get("label") is None:
            raise ValueError(f"label {index} has no label")
        if not isinstance(at, int | float) or isinstance(at, bool) or not math.isfinite(at):
            raise ValueError(f"label {index} has an `at` that is not a time in Unix seconds")
        record = {"v": 1, "request": request, "row": row, "label": item["label"], "at": at}
        lines.append(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
    return lines
