"""Convert rows of an external evidence source to predictions and labels."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from surefoot.adapters.predictions.recorded.table_requests import read_json_value, read_unix_time
from surefoot.core.answers.class_names import is_missing_value
from surefoot.core.canonical_text import canonical_text
from surefoot.core.errors import Rejected
from surefoot.core.policy.evidence.evidence_section import LabelColumns, LabelSource, PredictionSource

_T = TypeVar("_T")
_MAX_ID = 128
"""Longest request id [characters]."""
_SERVER_ERROR = 500
"""HTTP status from which on an answer is a failure."""
_MAX_ERROR = 200
"""Longest text of a failure that is kept [characters]."""
_MAX_EXAMPLES = 3
"""Rows that are named for each reason [count]."""
SourceRow = Mapping[str, object]
"""A row of a source: value by column."""
Key = tuple[str, int]
"""A request's id, and the position of the row in it."""


@dataclass(frozen=True, slots=True)
class ProvidedPrediction:
    """What one version did with one row of one request, as another program has recorded it.

    Attributes:
        key: Request id and row.
        at: When the request was received [Unix seconds].
        version: Version that answered.
        unit: Unit of the policy; None without one.
        answer: What it answered, as a JSON value; None where it failed, or where the source holds no answers.
        error: Why it failed; None when it did not.
        latency_ms: Time to the answer [ms]; None where nothing was measured.
        features: Features of the row, as JSON values.
        weight: Share of the traffic that the candidate had [percent]; None where the source does not say.
    """

    key: Key
    at: float
    version: str
    unit: str | None
    answer: object
    error: str | None
    latency_ms: float | None
    features: dict[str, object]
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class ProvidedLabel:
    """What turned out to be true of one row of one request.

    Attributes:
        key: Request id and row.
        at: When that became known [Unix seconds].
        label: The label, as a JSON value.
    """

    key: Key
    at: float
    label: object

    @property
    def identity(self) -> tuple[str, int, float, str]:
        """What is the same where a label was read twice."""
        return (*self.key, self.at, canonical_text(self.label) or "")


@dataclass
class UnusableRows:
    """Rows of a source that cannot be used.

    Attributes:
        counts: Rows by reason [count].
        examples: Up to three rows for each reason: their ids, or what stands in the place of one.
    """

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, row: str) -> None:
        """Count one row."""
        self.counts[reason] += 1
        named = self.examples.setdefault(reason, [])
        if len(named) < _MAX_EXAMPLES:
            named.append(row)

    @property
    def total(self) -> int:
        """Rows that cannot be used [count]."""
        return self.counts.total()

    def reasons(self, limit: int = 3) -> list[str]:
        """What could not be used, one text a reason, the most frequent first.

        Args:
            limit: Reasons that are named [count].
        """
        return [
            f"{count:,} {reason} ({', '.join(self.examples[reason])})"
            for reason, count in self.counts.most_common(limit)
        ]


class _UnusableRowError(Exception):
    """A row cannot be used; the text says why, as a noun."""


class PredictionRows:
    """Converts rows of one source of predictions.

    Attributes:
        unusable: Rows that could not be used so far.
    """

    def __init__(self, source: PredictionSource, unit: str | None) -> None:
        """Know the columns.

        Args:
            source: What the policy says of the source.
            unit: Column of the policy's unit; None without one.
        """
        self._columns = source.columns
        self._named = source.columns.named
        self._own = frozenset(self._named.values())
        self._features = source.features
        self._unit = unit
        self.unusable = UnusableRows()

    def convert(self, row: SourceRow) -> tuple[ProvidedPrediction, ProvidedLabel | None] | None:
        """The prediction of a row, and the label that it has; None where the row cannot be used, which is counted."""
        try:
            return self._prediction(row), self._label(row)
        except _UnusableRowError as error:
            self.unusable.add(str(error), str(row.get(self._columns.request))[:_MAX_ID])
            return None

    def _prediction(self, row: SourceRow) -> ProvidedPrediction:
        read = self._named
        key, at = _key(row, read), _time(row, read["at"], "time")
        version = _text(row[read["version"]])
        if not version:
            raise _UnusableRowError("rows without a version")
        error = self._error(row)
        answer = _json(row[read["answer"]], "an answer") if "answer" in read and error is None else None
        if "answer" in read and error is None and answer is None:
            error = "no answer"
        features = {
            name: _json(row.get(name), "a feature")
            for name in (self._features if self._features is not None else row)
            if self._features is not None or name not in self._own
        }
        unit = row.get(read["unit"]) if "unit" in read else features.get(self._unit or "")
        return ProvidedPrediction(
            key=key,
            at=at,
            version=version,
            unit=None if unit is None else _text(unit) or None,
            answer=answer,
            error=error,
            latency_ms=self._latency(row),
            features=features,
            weight=_number(row, read["weight"], "weight") if "weight" in read else None,
        )

    def _error(self, row: SourceRow) -> str | None:
        read = self._named
        if "status" in read:
            status = _number(row, read["status"], "status")
            return f"HTTP {status:.0f}" if status is not None and status >= _SERVER_ERROR else None
        value = row[read["error"]] if "error" in read else None
        if value is None or value is False or value == 0 or (isinstance(value, str) and not value.strip()):
            return None
        return (
            "failed"
            if value is True
            else f"error {value}"
            if isinstance(value, int | float)
            else str(value)[:_MAX_ERROR]
        )

    def _latency(self, row: SourceRow) -> float | None:
        read = self._named
        if "latency_s" in read:
            seconds = _number(row, read["latency_s"], "latency")
            return None if seconds is None else seconds * 1000.0
        return _number(row, read["latency_ms"], "latency") if "latency_ms" in read else None

    def _label(self, row: SourceRow) -> ProvidedLabel | None:
        read = self._named
        if "label" not in read or "label_at" not in read or row[read["label"]] is None:
            return None
        columns = {"request": read["request"], "label": read["label"], "at": read["label_at"]}
        return _label(row, columns | ({"row": read["row"]} if "row" in read else {}))


class LabelRows:
    """Converts rows of one source of labels.

    Attributes:
        unusable: Rows that could not be used so far.
    """

    def __init__(self, source: LabelSource) -> None:
        """Know the columns."""
        self._columns: LabelColumns = source.columns
        self.unusable = UnusableRows()

    def convert(self, row: SourceRow) -> ProvidedLabel | None:
        """The label of a row; None where the row cannot be used, which is counted."""
        try:
            return _label(row, self._columns.named)
        except _UnusableRowError as error:
            self.unusable.add(str(error), str(row.get(self._columns.request))[:_MAX_ID])
            return None


def _label(row: SourceRow, columns: Mapping[str, str]) -> ProvidedLabel:
    key = _key(row, columns)
    label = _json(row[columns["label"]], "a label")
    if label is None or is_missing_value(label):
        raise _UnusableRowError("labels that say nothing")
    return ProvidedLabel(key, _time(row, columns["at"], "time of the label"), label)


def _key(row: SourceRow, columns: Mapping[str, str]) -> Key:
    """Id and position of a row."""
    request = _text(row[columns["request"]])
    if not request:
        raise _UnusableRowError("rows without a request id")
    if len(request) > _MAX_ID or not request.isprintable() or " " in request:
        raise _UnusableRowError(f"request ids that are not 1 to {_MAX_ID} visible characters")
    place = row[columns["row"]] if "row" in columns else 0
    if isinstance(place, bool) or not isinstance(place, int) or place < 0:
        raise _UnusableRowError("positions in a request that are no whole number from 0")
    return request, place


def _time(row: SourceRow, column: str, what: str) -> float:
    if row[column] is None:
        raise _UnusableRowError(f"rows without a {what}")
    return _attempt(
        lambda: read_unix_time("", column, row[column]), f"rows with a {what} that is none, or not in seconds"
    )


def _number(row: SourceRow, column: str, what: str) -> float | None:
    """A number from 0; None where there is none."""
    value = row[column]
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return None
    try:
        found = float(str(value))
    except ValueError:
        found = -1.0
    if isinstance(value, bool) or not 0.0 <= found < float("inf"):
        raise _UnusableRowError(f"rows with a {what} that is no number from 0")
    return found


def _json(value: object, what: str) -> object:
    return _attempt(lambda: read_json_value("", value), f"rows with {what} that JSON has no value for")


def _text(value: object) -> str:
    """A value as the text that a request, a version or a unit is known by; 7 and 7.0 are one."""
    if isinstance(value, int | float) or value is None:
        return canonical_text(value) or ""
    return str(value).strip()


def _attempt(read: Callable[[], _T], reason: str) -> _T:
    """What can be read.

    Raises:
        _UnusableRowError: It cannot.
    """
    try:
        return read()
    except Rejected as error:
        raise _UnusableRowError(reason) from error
