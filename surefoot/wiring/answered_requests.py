"""Write what applications answered by themselves into the prediction log, as the gateway does for its own callers."""

import os
import time
from collections.abc import Sequence
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
from surefoot.gateway.log.redaction import LogRedactor
from surefoot.settings import Settings

_SAMPLED = 1000
"""So many requests are looked for in the log before anything is written [count]."""


@dataclass(frozen=True, slots=True)
class SplitPeriod:
    """A split and when it came into force [Unix seconds of the policies' clock]."""

    since: float
    split: Split


def split_periods(model: str, entries: Sequence[Entry]) -> tuple[SplitPeriod, ...]:
    """Every split that a journal says was in force, oldest first."""
    ledger, made = Ledger(model), list[SplitPeriod]()
    for entry in entries:
        before, ledger = ledger.split, fold_entries(model, (entry,), ledger)
        if ledger.split is not None and ledger.split != before:
            made.append(SplitPeriod(entry.at, ledger.split))
    return tuple(made)


def split_of_answer(periods: Sequence[SplitPeriod], at: float, number: str) -> Split | None:
    """The last split until a moment in which a version answered callers; None where there was none.

    An application may go on with a version that it has loaded long after the split has changed.
    """
    for period in reversed(periods):
        split = period.split
        shares = split.candidate is not None and split.weight > 0.0 and split.candidate.number == number
        if period.since <= at and (shares or split.champion.number == number):
            return split
    return None


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
    periods = split_periods(model, entries)
    kept = policy.log_policy
    redactor = None if kept == LogPolicy() else LogRedactor(kept, config.token, policy.unit)
    records = [_record(model, row, given, split_of_answer(periods, row.request.at, given.number)) for row in rows]
    if redactor is not None:
        records = [_redacted(redactor, record) for record in records]
    labels = []
    for index, row in enumerate(rows):
        if row.label is not None:
            try:
                check_label(index, row.label[1])
            except ValueError as error:
                raise Rejected(f"row {index + 1}: {error}") from error
            labels.append(_label(row, row.label))
    stem = f"{os.getpid()}-{time.time_ns() // 1_000_000}"
    for kind, lines in (("predictions", [json_line(record) for record in records]), ("labels", labels)):
        segment = SegmentWriter(config.log / model_file_name(model) / f"{kind}-{stem}.jsonl")
        for begin in range(0, len(lines), _SAMPLED):
            segment.append(b"".join(lines[begin : begin + _SAMPLED]))
        segment.close()
    return len(labels)


def _refuse_repeated(config: Settings, model: str, rows: Sequence[TableRow]) -> None:
    """Refuse a file that was recorded before: each of its requests would be in the log twice."""
    asked = [row.request.key[0] for row in rows[:: max(len(rows) // _SAMPLED, 1)]]
    known = PredictionLog(config.log).query_rows(
        model, "SELECT min(request) FROM log WHERE request IN (SELECT unnest($1::VARCHAR[]))", (asked,)
    )
    if known and known[0][0] is not None:
        raise Rejected(f"the prediction log of {model} has request {str(known[0][0])!r} already: nothing was written")


def _record(model: str, row: TableRow, given: VersionAnswers, split: Split | None) -> dict[str, object]:
    key, number = row.request.key, given.number
    candidate = split is not None and split.candidate is not None and split.candidate.number == number
    error = given.errors.get(key)
    return {
        "v": 1,
        "request": key[0],
        "row": key[1],
        "model": model,
        "at": row.request.at,
        "unit": row.unit,
        "arm": (Arm.CANDIDATE if candidate else Arm.CHAMPION).value,
        "version": number,
        "answered_by": None if error else number,
        "weight": split.weight if split is not None else 0.0,
        "generation": split.generation if split is not None else 0,
        "rollout": split.rollout if split is not None else "",
        "latency_ms": row.told.get("latency_ms") or 0.0,
        "cpu_ms": row.told.get("cpu_ms"),
        "rss_mb": row.told.get("rss_mb"),
        "error": error,
        "params": None,
        "model_ms": None,
        "batch": None,
        "prediction": given.answers.get(key),
        "features": row.request.features,
    }


def _redacted(redactor: LogRedactor, record: dict[str, object]) -> dict[str, object]:
    """A record as the policy lets it be kept."""
    features, unit = record["features"], record["unit"]
    assert isinstance(features, dict)  # noqa: S101 - made above
    why = redactor.omission_reason(str(record["request"]), tuple(features))
    hidden = {"unit": redactor.redact_unit(None if unit is None else str(unit))}
    if why:
        return {**record, **hidden, "features": None, "left_out": {"features": why}}
    return {**record, **hidden, "features": redactor.redact_row(features)}


def _label(row: TableRow, label: tuple[float, object]) -> bytes:
    request, place = row.request.key
    made = {"v": 1, "request": request, "row": place, "label": label[1], "at": label[0], "received": time.time()}
    return orjson.dumps(made, option=orjson.OPT_APPEND_NEWLINE)
