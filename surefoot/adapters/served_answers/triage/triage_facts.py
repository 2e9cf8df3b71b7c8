"""Measure errors, drift and latency around an incident's onset, to find its cause."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from surefoot.adapters.champion_watch.logged_day_counts import is_calendar_column
from surefoot.adapters.predictions.prediction_log import LoggedRequest, PredictionLog, parse_logged_json
from surefoot.adapters.replay.version_processes import ProcessScorer, VersionProcesses
from surefoot.adapters.served_answers.triage.column_shifts import column_shifts, value_text
from surefoot.adapters.served_answers.triage.request_traces import RequestTracer
from surefoot.adapters.served_answers.triage.version_losses import (
    LossQuery,
    add_measurement_problem,
    ask_version,
    measure_losses,
)
from surefoot.core.answers.disagreement import find_disagreeing_requests
from surefoot.core.domain import Version
from surefoot.core.errors import ArtifactTampered, InvariantBroken, SurefootError
from surefoot.core.policy.policy_types import PairedGate
from surefoot.core.triage.triage_facts import ColumnShift, FailureCondition, TriageFacts

_ROWS = 1500
"""Most rows before and after the onset that are asked again, chosen by their request ids [count]."""
_LAST_SHARES = (2, 4)
"""The last half and the last quarter of the requests after the onset are looked at by themselves."""
_MOST_VALUES = 20
"""Values of a column that are tried as a property of failing requests, the most frequent first [count]."""

_Rows = Sequence[LoggedRequest]


@dataclass(frozen=True, slots=True)
class TriageQuery:
    """The incident whose cause is sought: versions, times and gate.

    Attributes:
        model: Registered model.
        version: The version that was taken back.
        good: The version that serves in its place; None without one.
        trial: Whether the version was on trial.
        before: Beginning of the time before the onset [Unix seconds].
        onset: When the trouble began [Unix seconds].
        until: Last answer of the version, or now [Unix seconds].
        now: Labels that came later do not count [Unix seconds].
        too_slow: Whether a gate of latency or resources has decided.
        too_large: Whether it was a gate of memory.
        gate: How answers are held against labels; None where the policy has no loss.
    """

    model: str
    version: Version
    good: Version | None
    trial: bool
    before: float
    onset: float
    until: float
    now: float
    gate: PairedGate | None
    too_slow: bool = False
    too_large: bool = False


def measure_triage_facts(
    log: PredictionLog, versions: VersionProcesses, query: TriageQuery, tracer: RequestTracer | None = None
) -> TriageFacts:
    """Measure everything that can be measured; what cannot is named in the facts and ends nothing.

    Args:
        log: The prediction log.
        versions: Start both versions in processes of their own.
        query: Which incident.
        tracer: Traces a few requests through the versions while their processes run.

    Raises:
        EvidenceUnavailable: The prediction log cannot be read.
    """
    tracer = tracer or RequestTracer()
    facts = _failures(log, query, TriageFacts(trial=query.trial, too_slow=query.too_slow, too_large=query.too_large))
    facts = _memory(log, query, _latencies(log, query, facts))
    rows = log.read_requests(query.model, query.before, query.now, limit=4 * _ROWS)
    before = _thinned([row for row in rows if row.at <= query.onset])
    after = _thinned([row for row in rows if query.onset < row.at <= query.until])
    before, changed, shifts = _compared(before, after)
    facts = replace(facts, shifts=shifts)
    tracer.choose(after, query.version.number, _errors(log, query) if facts.failed else {})
    if problem := versions.find_copy_problem(query.version):
        return replace(facts, artifact_problem=problem)
    try:
        scorer = versions.start_scorer(query.model, query.version)
    except ArtifactTampered as error:
        return replace(facts, artifact_problem=str(error))
    except SurefootError as error:
        return add_measurement_problem(facts, f"the version could not be asked again: {error}")
    try:
        facts = _replayed(scorer, query, after, facts)
        tracer.trace(scorer, query.version.number)
        if facts.fails_more:  # failures are explained first, and losses of what is answered tell nothing of them
            return facts
        sought = LossQuery(query.model, query.good, query.trial, query.gate, query.now, tracer)
        return measure_losses(scorer, versions.start_scorer, sought, before, changed, facts)
    finally:
        scorer.close()


def _compared(before: _Rows, after: _Rows) -> tuple[_Rows, _Rows, dict[str, ColumnShift]]:
    """Choose which requests before and after the onset are held against each other, and measure how columns moved.

    An onset is the last time at which nothing was found, or the first answer of a version on trial: the trouble may
    have begun before it, or days after it. Where a mistake shows only against the first half of the requests before, or
    only in the last ones after the onset, these are compared.
    """
    shifts = column_shifts(before, after)
    if any(one.detail for one in shifts.values()):
        return before, after, shifts
    parts = [(before[: len(before) // 2], after)]
    parts += [(before, after[-(len(after) // share) :]) for share in _LAST_SHARES]
    for first, last in parts:
        found = column_shifts(first, last)
        if any(one.detail and one.distance > one.noise for one in found.values()):
            return first, last, found
    return before, after, shifts


def _thinned(rows: _Rows) -> _Rows:
    """At most so many rows as are asked again, evenly over their time."""
    return rows if len(rows) <= _ROWS else [rows[place * len(rows) // _ROWS] for place in range(_ROWS)]


def _failures(log: PredictionLog, query: TriageQuery, facts: TriageFacts) -> TriageFacts:
    """What the version failed after the onset, and which property of the requests goes along with it."""
    sql = """SELECT version, error, features FROM log WHERE "at" >= $1 AND "at" <= $2 AND version = $3
             ORDER BY hash(request), "row" LIMIT $4"""
    asked = log.query_rows(query.model, sql, (query.onset, query.until, query.version.number, 20 * _ROWS))
    failed = [(str(error), parse_logged_json(features)) for _, error, features in asked if error is not None]
    answered = [parse_logged_json(features) for _, error, features in asked if error is None]
    facts = replace(facts, asked=len(asked), failed=len(failed))
    if query.good is not None:
        sql = """SELECT count(*), count(*) FILTER (WHERE error IS NOT NULL) FROM log
                 WHERE "at" >= $1 AND "at" <= $2 AND version = $3"""
        ((total, wrong),) = log.query_rows(query.model, sql, (query.onset, query.until, query.good.number))
        facts = replace(facts, good_failed=int(str(wrong)) / max(int(str(total)), 1))
    if not failed:
        return facts
    error, _ = Counter(text for text, _ in failed).most_common(1)[0]
    condition = _condition([row for _, row in failed], answered)
    return replace(facts, error=" ".join(error.split())[:200], condition=condition)


def _errors(log: PredictionLog, query: TriageQuery) -> dict[tuple[str, int], str]:
    """How the version failed requests after the onset, by request id and row."""
    sql = """SELECT request, "row", error FROM log
             WHERE version = $1 AND error IS NOT NULL AND "at" >= $2 AND "at" <= $3"""
    rows = log.query_rows(query.model, sql, (query.version.number, query.onset, query.until))
    return {(str(request), int(str(row))): str(error) for request, row, error in rows}


def _condition(failed: Sequence[object], answered: Sequence[object]) -> FailureCondition | None:
    """The property of a row that tells most of the failures apart: a value is missing, or is a certain one."""
    bad = [row for row in failed if isinstance(row, dict)]
    good = [row for row in answered if isinstance(row, dict)]
    if not bad:
        return None
    # A failure at certain times has its cause beside the requests: a deployment, a night job, a full queue.
    names = dict.fromkeys(name for row in (*bad, *good) for name in row if not is_calendar_column(str(name)))
    found = [_any_missing(bad, good, list(names))]
    for name in names:
        values = Counter(value_text(row.get(name)) for row in bad)
        for value, with_failure in values.most_common(_MOST_VALUES):
            with_answer = sum(value_text(row.get(name)) == value for row in good)
            failing = with_failure / (with_failure + with_answer)
            left, left_good = len(bad) - with_failure, len(good) - with_answer
            # A property that every request has tells nothing apart.
            otherwise = left / (left + left_good) if left + left_good else failing
            what = "is missing" if value is None else f"is {value}"
            condition = FailureCondition(str(name), what, with_failure / len(bad), failing, otherwise)
            found.append(((with_failure / len(bad)) * failing - otherwise, condition))
    return max(found, key=lambda pair: pair[0])[1]


def _any_missing(
    bad: Sequence[dict[str, object]], good: Sequence[dict[str, object]], names: Sequence[str]
) -> tuple[float, FailureCondition]:
    """How far it explains the failures that any of the columns is missing."""
    missing = Counter(name for row in bad for name in names if value_text(row.get(name)) is None)
    gaps = [sum(any(value_text(row.get(name)) is None for name in missing) for row in rows) for rows in (bad, good)]
    failing = gaps[0] / (gaps[0] + gaps[1]) if any(gaps) else 0.0
    left, left_good = len(bad) - gaps[0], len(good) - gaps[1]
    otherwise = left / (left + left_good) if left + left_good else failing
    columns = " or ".join(name for name, _ in missing.most_common(3)) or "any column"
    condition = FailureCondition(columns, "is missing", gaps[0] / len(bad), failing, otherwise)
    return gaps[0] / len(bad) * failing - otherwise, condition


def _latencies(log: PredictionLog, query: TriageQuery, facts: TriageFacts) -> TriageFacts:
    """The 95th percentile of both versions' latencies after the onset, or of the other one's before it."""
    sql = """SELECT quantile_cont(latency_ms, 0.95) FROM log
             WHERE version = $1 AND error IS NULL AND "at" >= $2 AND "at" <= $3"""
    own = log.query_rows(query.model, sql, (query.version.number, query.onset, query.until))[0][0]
    other: object = None
    if query.good is not None:
        for since, until in ((query.onset, query.until), (query.until, query.now), (0.0, query.onset)):
            other = log.query_rows(query.model, sql, (query.good.number, since, until))[0][0]
            if other is not None:
                break
    if other is None:  # no other version has served at that time: the version itself, while it was well
        window = (query.version.number, query.before, query.onset)
        other = log.query_rows(query.model, sql, window)[0][0]
    ms, good_ms = (None if value is None else float(str(value)) for value in (own, other))
    return replace(facts, latency_ms=ms, good_latency_ms=good_ms)


def _memory(log: PredictionLog, query: TriageQuery, facts: TriageFacts) -> TriageFacts:
    """The 95th percentile of both processes' memory after the onset, where it was logged."""
    sql = """SELECT quantile_cont(rss_mb, 0.95) FROM log WHERE version = $1 AND "at" >= $2 AND "at" <= $3"""
    sizes: list[float | None] = []
    for version in (query.version, query.good):
        window = None if version is None else (version.number, query.onset, query.until)
        value = None if window is None else log.query_rows(query.model, sql, window)[0][0]
        sizes.append(None if value is None else float(str(value)))
    if sizes[1] is None:  # no other version has served at that time: the version itself, while it was well
        value = log.query_rows(query.model, sql, (query.version.number, query.before, query.onset))[0][0]
        sizes[1] = None if value is None else float(str(value))
    return replace(facts, memory_mb=sizes[0], good_memory_mb=sizes[1])


def _replayed(scorer: ProcessScorer, query: TriageQuery, after: _Rows, facts: TriageFacts) -> TriageFacts:
    """Compute what the version had answered after the onset again in a fresh process."""
    own = [
        row
        for row in after
        if row.answered_by == query.version.number and row.prediction is not None and not row.params
    ]
    named = [row for row in own if row.bare is None]
    if not named:
        return facts
    answers = ask_version(scorer, [row.features for row in named])
    if answers is None:
        return add_measurement_problem(facts, "a fresh process of the version fails the requests that it has answered")
    logged = [row.prediction for row in named[: len(answers)]]
    try:
        differs = int(find_disagreeing_requests(answers, logged, 0.5).sum())
        apart = sum(not _same(one, other) for one, other in zip(answers, logged, strict=True))
    except InvariantBroken as error:
        return add_measurement_problem(facts, f"the version's answers cannot be compared: {error}")
    return replace(facts, replayed=len(answers), replay_differs=max(differs, apart))


def _same(one: object, other: object) -> bool:
    """Whether two answers are one: numbers within the last digits that batches change."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(float(one), float(other), rel_tol=1e-3, abs_tol=1e-6)
    return one == other
