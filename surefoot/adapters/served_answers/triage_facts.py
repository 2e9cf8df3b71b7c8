"""Measure the facts that decide an incident's cause: recomputed answers, failures, losses, and moved columns."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from surefoot.adapters.predictions.prediction_log import LoggedRequest, PredictionLog, parse_logged_json
from surefoot.adapters.replay.version_processes import ProcessScorer, VersionProcesses
from surefoot.adapters.served_answers.column_shifts import MIN_ROWS, column_shifts, value_text, values_as_before
from surefoot.core.answers.answer_values import answer_number
from surefoot.core.answers.disagreement import disagreeing_requests
from surefoot.core.answers.losses import compute_losses
from surefoot.core.domain import Version
from surefoot.core.errors import ArtifactTampered, InvariantBroken, SurefootError
from surefoot.core.incidents.triage import ColumnShift, FailureCondition, TriageFacts
from surefoot.core.policy.policy_types import PairedGate
from surefoot.models.model_process import ProcessDied, RemoteModelError
from surefoot.models.remote_scorer import ScoringAbandoned

_ROWS = 1500
"""Most rows before and after the onset that are asked again, chosen by their request ids [count]."""
_TRIED = 6
"""Moved columns whose values of before are tried, those that moved furthest first [count]."""
_ERRORS_OF_CHANCE = 3.0
"""Standard errors by which a mean changes by chance at most [count]."""
_MOST_VALUES = 20
"""Values of a column that are tried as a property of failing requests, the most frequent first [count]."""

LoadVersion = Callable[[str, Version], ProcessScorer]
_Rows = Sequence[LoggedRequest]


@dataclass(frozen=True, slots=True)
class TriageQuery:
    """Which incident is looked into.

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


def measure_triage_facts(log: PredictionLog, versions: VersionProcesses, query: TriageQuery) -> TriageFacts:
    """Measure everything that can be measured; what cannot is named in the facts and ends nothing.

    Args:
        log: The prediction log.
        versions: Start both versions in processes of their own.
        query: Which incident.

    Raises:
        EvidenceUnavailable: The prediction log cannot be read.
    """
    facts = _failures(log, query, TriageFacts(trial=query.trial, too_slow=query.too_slow))
    facts = _latencies(log, query, facts)
    rows = log.read_requests(query.model, query.before, query.now, limit=4 * _ROWS)
    before = _thinned([row for row in rows if row.at <= query.onset])
    after = _thinned([row for row in rows if query.onset < row.at <= query.until])
    facts = replace(facts, shifts=column_shifts(before, after))
    if problem := versions.find_copy_problem(query.version):
        return replace(facts, artifact_problem=problem)
    try:
        scorer = versions.start_scorer(query.model, query.version)
    except ArtifactTampered as error:
        return replace(facts, artifact_problem=str(error))
    except SurefootError as error:
        return _with_problem(facts, f"the version could not be asked again: {error}")
    try:
        facts = _replayed(scorer, query, after, facts)
        return _losses(scorer, versions.start_scorer, query, before, after, facts)
    finally:
        scorer.close()


def _thinned(rows: _Rows) -> _Rows:
    """At most so many rows as are asked again, evenly over their time."""
    return rows if len(rows) <= _ROWS else [rows[place * len(rows) // _ROWS] for place in range(_ROWS)]


def _with_problem(facts: TriageFacts, problem: str) -> TriageFacts:
    return replace(facts, problems=(*facts.problems, " ".join(problem.split())[:300]))


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


def _condition(failed: Sequence[object], answered: Sequence[object]) -> FailureCondition | None:
    """The property of a row that tells most of the failures apart: a value is missing, or is a certain one."""
    bad = [row for row in failed if isinstance(row, dict)]
    good = [row for row in answered if isinstance(row, dict)]
    if not bad:
        return None
    names = dict.fromkeys(name for row in (*bad, *good) for name in row)
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
    ms, good_ms = (None if value is None else float(str(value)) for value in (own, other))
    return replace(facts, latency_ms=ms, good_latency_ms=good_ms)


def _ask(scorer: ProcessScorer, rows: Sequence[dict[str, object]]) -> list[object] | None:
    """Answers of a version to rows; None where it fails them together."""
    with suppress(ValueError, RemoteModelError, ProcessDied, ScoringAbandoned):
        if scorer.batchable:
            return scorer.predict(list(rows))
        return [scorer.predict([row])[0] for row in rows[: _ROWS // 10]]
    return None


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
    answers = _ask(scorer, [row.features for row in named])
    if answers is None:
        return _with_problem(facts, "a fresh process of the version fails the requests that it has answered")
    logged = [row.prediction for row in named[: len(answers)]]
    try:
        differs = int(disagreeing_requests(answers, logged, 0.5).sum())
        apart = sum(not _same(one, other) for one, other in zip(answers, logged, strict=True))
    except InvariantBroken as error:
        return _with_problem(facts, f"the version's answers cannot be compared: {error}")
    return replace(facts, replayed=len(answers), replay_differs=max(differs, apart))


def _same(one: object, other: object) -> bool:
    """Whether two answers are one: numbers within the last digits that batches change."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(float(one), float(other), rel_tol=1e-3, abs_tol=1e-6)
    return one == other


def _losses(
    scorer: ProcessScorer, load: LoadVersion, query: TriageQuery, before: _Rows, after: _Rows, facts: TriageFacts
) -> TriageFacts:
    """Mean losses of both versions before and after the onset, and what old values of moved columns restore."""
    gate = query.gate
    if gate is None:
        return _with_problem(facts, "the policy has no loss, so that answers are not held against labels")
    old, new = (_labelled(rows, gate, query.now) for rows in (before, after))
    facts = replace(facts, labelled=len(new[0]))
    if len(new[0]) < MIN_ROWS:
        return _with_problem(facts, f"only {len(new[0])} requests after the onset have labels")
    facts = _label_means(facts, old[1], new[1])
    losses_after = _mean_loss(scorer, gate, *new)
    if losses_after is None:
        return _with_problem(facts, "the version's answers to the requests after the onset have no loss")
    losses_before = _mean_loss(scorer, gate, *old) if len(old[0]) >= MIN_ROWS else None
    spread = losses_after[1] ** 2 + (losses_before[1] ** 2 if losses_before else 0.0)
    facts = replace(
        facts,
        loss_after=losses_after[0],
        loss_before=losses_before[0] if losses_before else None,
        tolerance=_ERRORS_OF_CHANCE * math.sqrt(spread),
    )
    facts = _good_losses(load, query, gate, old, new, facts)
    reference = facts.good_after if query.trial else facts.loss_before
    if reference is None or facts.loss_after is None or facts.loss_after - reference <= facts.tolerance:
        return facts
    return replace(
        facts, shifts=_counterfactuals(scorer, gate, before, new, (reference, facts.loss_after), facts.shifts)
    )


_LabelledRows = tuple[list[dict[str, object]], list[object]]


def _labelled(rows: _Rows, gate: PairedGate, now: float) -> _LabelledRows:
    """Rows with a label that counts by now, and these labels."""
    found = [
        (row.features, label)
        for row in rows
        if row.bare is None and not row.params and (not gate.maturity or row.at + gate.maturity <= now)
        if (label := row.label(gate.maturity)) is not None
    ]
    return [row for row, _ in found], [label for _, label in found]


def _label_means(facts: TriageFacts, old: Sequence[object], new: Sequence[object]) -> TriageFacts:
    """Mean labels before and after, where labels are numbers."""
    try:
        before, after = ([answer_number(label) for label in labels] for labels in (old, new))
    except InvariantBroken:
        return facts
    if len(before) < MIN_ROWS:
        return facts
    error = math.sqrt(float(np.var(before)) / len(before) + float(np.var(after)) / len(after))
    return replace(
        facts,
        label_before=float(np.mean(before)),
        label_after=float(np.mean(after)),
        label_tolerance=_ERRORS_OF_CHANCE * error,
    )


def _mean_loss(
    scorer: ProcessScorer, gate: PairedGate, rows: Sequence[dict[str, object]], labels: Sequence[object]
) -> tuple[float, float] | None:
    """Mean loss of a version on rows, and its standard error; None where it cannot be computed."""
    answers = _ask(scorer, rows)
    if not answers:
        return None
    try:
        losses = compute_losses(gate, answers, list(labels[: len(answers)]))
    except InvariantBroken:
        return None
    return float(np.mean(losses)), float(np.std(losses) / math.sqrt(len(losses)))


def _good_losses(
    load: LoadVersion,
    query: TriageQuery,
    gate: PairedGate,
    old: _LabelledRows,
    new: _LabelledRows,
    facts: TriageFacts,
) -> TriageFacts:
    """The same of the good version, on the same requests."""
    if query.good is None:
        return _with_problem(facts, "no good version is known to compare with")
    try:
        scorer = load(query.model, query.good)
    except SurefootError as error:
        return _with_problem(facts, f"the good version could not be asked: {error}")
    try:
        after = _mean_loss(scorer, gate, *new)
        before = _mean_loss(scorer, gate, *old) if len(old[0]) >= MIN_ROWS else None
    finally:
        scorer.close()
    return replace(facts, good_after=after[0] if after else None, good_before=before[0] if before else None)


def _counterfactuals(
    scorer: ProcessScorer,
    gate: PairedGate,
    before: _Rows,
    new: _LabelledRows,
    losses: tuple[float, float],
    shifts: Mapping[str, ColumnShift],
) -> dict[str, ColumnShift]:
    """Ask the version about the rows after the onset with one moved column's values of before, column by column."""
    reference, harmed = losses
    moved = sorted(
        (name for name, one in shifts.items() if one.distance > one.noise), key=lambda name: -shifts[name].distance
    )
    tried = dict(shifts)
    for name in moved[:_TRIED]:
        old = [row.features.get(name) for row in before]
        losses_then = []
        for values in values_as_before(old, [row.get(name) for row in new[0]]):
            rows = [{**row, name: value} for row, value in zip(new[0], values, strict=True)]
            if (found := _mean_loss(scorer, gate, rows, new[1])) is not None:
                losses_then.append(found[0])
        if losses_then:
            restored = (harmed - min(losses_then)) / (harmed - reference)
            tried[name] = replace(shifts[name], restored=min(max(restored, 0.0), 1.0))
    return tried
