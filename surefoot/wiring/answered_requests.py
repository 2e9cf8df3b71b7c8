"""Write answers and labels that were recorded without the gateway to the prediction log."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.predictions.recorded.records_file import VersionAnswers
from surefoot.adapters.predictions.recorded.table_requests import TableRow
from surefoot.core.domain import Arm, LogPolicy, Split
from surefoot.core.errors import Rejected
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.naming.model_names import model_file_name
from surefoot.core.policy.policy_types import Policy
from surefoot.gateway.log.label_validation import check_label
from surefoot.gateway.log.prediction_log_writer import SegmentWriter, json_line
from surefoot.gateway.log.redaction import LogRedactor, build_log_redactor
from surefoot.settings import Settings

_SAMPLED = 1000
"""So many requests are looked for in the log before anything is written [count]."""


@dataclass(frozen=True, slots=True)
class _SplitPeriod:
    """A split and when it came into force [Unix seconds of the policies' clock]."""

    since: float
    split: Split


def list_split_periods(model: str, entries: Sequence[Entry]) -> tuple[_SplitPeriod, ...]:
    """Every split that a journal says was in force, oldest first."""
    ledger, made = Ledger(model), list[_SplitPeriod]()
    for entry in entries:
        before, ledger = ledger.split, fold_entries(model, (entry,), ledger)
        if ledger.split is not None and ledger.split != before:
            made.append(_SplitPeriod(entry.at, ledger.split))
    return tuple(made)


def _split_of_answer(periods: Sequence[_SplitPeriod], at: float, number: str) -> Split | None:
    """The last split until a moment in which a version answered callers; None where there was none.

    An application may go on with a version that it has loaded long after the split has changed.
    """
    for period in reversed(periods):
        split = period.split
        shares = split.candidate is not None and split.weight > 0.0 and split.candidate.number == number
        if period.since <= at and (shares or split.champion.number == number):
            return split
    return None


@dataclass(frozen=True, slots=True)
class AnsweredRow:
    """What a version did with one row of one request, as another program has recorded it.

    Attributes:
        key: Request id and row.
        at: When the request was received [Unix seconds].
        number: Version that answered.
        unit: Unit of the policy; None without one.
        answer: What it answered, as a JSON value.
        error: Why it failed; None when it did not.
        features: Features of the row, as JSON values.
        measured: `latency_ms`, `cpu_ms` and `rss_mb`, where they were measured.
    """

    key: tuple[str, int]
    at: float
    number: str
    unit: str | None
    answer: object
    error: str | None
    features: Mapping[str, object]
    measured: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ReportedLabel:
    """A label that was reported: request id and row, when it became known [Unix seconds], and what it says."""

    key: tuple[str, int]
    at: float
    label: object


class AnsweredRequestLog:
    """Appends what applications answered, and labels, to a model's prediction log; each file is closed at the end."""

    def __init__(
        self, config: Settings, model: str, kept: LogPolicy, unit: str | None, entries: Sequence[Entry]
    ) -> None:
        """Nothing is opened yet.

        Args:
            config: Where everything is.
            model: Registered model.
            kept: What of the features is kept.
            unit: Column of the policy's unit; None without one.
            entries: The model's journal, which says what was in force when.
        """
        self._model = model
        self._periods = list_split_periods(model, entries)
        self._redactor = build_log_redactor(model, kept, config.token, unit, config.log)
        stem, folder = f"{os.getpid()}-{time.time_ns() // 1_000_000}", config.log / model_file_name(model)
        self._predictions = SegmentWriter(folder / f"predictions-{stem}.jsonl")
        self._labels = SegmentWriter(folder / f"labels-{stem}.jsonl")

    def append(self, rows: Iterable[AnsweredRow], labels: Iterable[ReportedLabel]) -> None:
        """Append rows and labels.

        Raises:
            OSError: The disk refuses.
        """
        records = (self._record(row) for row in rows)
        for segment, lines in ((self._predictions, map(json_line, records)), (self._labels, map(_label, labels))):
            written = list(lines)
            for begin in range(0, len(written), _SAMPLED):
                segment.append(b"".join(written[begin : begin + _SAMPLED]))

    def close(self) -> None:
        """Close the files for good."""
        self._predictions.close()
        self._labels.close()

    def _record(self, row: AnsweredRow) -> dict[str, object]:
        split = _split_of_answer(self._periods, row.at, row.number)
        made = _record(self._model, row, split)
        return made if self._redactor is None else _redacted(self._redactor, made)


def log_answers(
    config: Settings, policy: Policy, entries: Sequence[Entry], rows: Sequence[TableRow], given: VersionAnswers
) -> int:
    """Append what a version answered, and the labels that are known, to a model's prediction log.

    Args:
        config: Where everything is.
        policy: The model's policy: what of the features is kept.
        entries: The model's journal, which says what was in force when.
        rows: The requests.
        given: What the version answered.

    Returns:
        Labels that were written [count].

    Raises:
        Rejected: The log holds such requests already, or a label says nothing; nothing was written.
        OSError: The disk refuses.
    """
    model = policy.model
    _refuse_repeated(config, model, rows)
    labels = []
    for index, row in enumerate(rows):
        if row.label is not None:
            try:
                check_label(index, row.label[1])
            except ValueError as error:
                raise Rejected(f"row {index + 1}: {error}") from error
            labels.append(ReportedLabel(row.request.key, *row.label))
    log = AnsweredRequestLog(config, model, policy.log_policy, policy.unit, entries)
    try:
        log.append([_answered(row, given) for row in rows], labels)
    finally:
        log.close()
    return len(labels)


def _answered(row: TableRow, given: VersionAnswers) -> AnsweredRow:
    """A row of a table, with what a version made of it."""
    key = row.request.key
    return AnsweredRow(
        key=key,
        at=row.request.at,
        number=given.number,
        unit=row.unit,
        answer=given.answers.get(key),
        error=given.errors.get(key),
        features=row.request.features,
        measured=row.told,
    )


def _refuse_repeated(config: Settings, model: str, rows: Sequence[TableRow]) -> None:
    """Refuse a file that was recorded before: each of its requests would be in the log twice."""
    asked = [row.request.key[0] for row in rows[:: max(len(rows) // _SAMPLED, 1)]]
    known = PredictionLog(config.log).query_rows(
        model, "SELECT min(request) FROM log WHERE request IN (SELECT unnest($1::VARCHAR[]))", (asked,)
    )
    if known and known[0][0] is not None:
        raise Rejected(f"the prediction log of {model} has request {str(known[0][0])!r} already: nothing was written")


def _record(model: str, row: AnsweredRow, split: Split | None) -> dict[str, object]:
    candidate = split is not None and split.candidate is not None and split.candidate.number == row.number
    return {
        "v": 1,
        "request": row.key[0],
        "row": row.key[1],
        "model": model,
        "at": row.at,
        "unit": row.unit,
        "arm": (Arm.CANDIDATE if candidate else Arm.CHAMPION).value,
        "version": row.number,
        "answered_by": None if row.error else row.number,
        "weight": split.weight if split is not None else 0.0,
        "generation": split.generation if split is not None else 0,
        "rollout": split.rollout if split is not None else "",
        "latency_ms": row.measured.get("latency_ms", 0.0),
        "cpu_ms": row.measured.get("cpu_ms"),
        "rss_mb": row.measured.get("rss_mb"),
        "error": row.error,
        "params": None,
        "model_ms": None,
        "batch": None,
        "prediction": row.answer,
        "features": row.features,
    }


def _redacted(redactor: LogRedactor, record: dict[str, object]) -> dict[str, object]:
    """A record as the policy lets it be kept."""
    features, unit = record["features"], record["unit"]
    assert isinstance(features, dict)  # noqa: S101 - made above
    why = redactor.omission_reason(str(record["request"]), tuple(features))
    error = record["error"]
    hidden = {"error": None if error is None else redactor.logged_error(str(error))}
    hidden |= {"unit": redactor.redact_unit(None if unit is None else str(unit))}
    if why:
        return {**record, **hidden, "features": None, "left_out": {"features": why}}
    return {**record, **hidden, "features": redactor.redact_row(features)}


def _label(told: ReportedLabel) -> bytes:
    request, place = told.key
    made = {"v": 1, "request": request, "row": place, "label": told.label, "at": told.at, "received": time.time()}
    return orjson.dumps(made, option=orjson.OPT_APPEND_NEWLINE)
