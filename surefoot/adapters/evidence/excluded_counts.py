"""Count the logged requests and labels that a gate's evidence excludes, by reason."""

from collections.abc import Sequence
from dataclasses import replace

from surefoot.adapters.evidence.live_counts.arm_assignment import SERVED_CONDITION_SQL, request_arms_parameters
from surefoot.adapters.evidence.live_counts.sql_log import SqlLog
from surefoot.adapters.evidence.live_counts.trial_counts import parse_count
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.excluded_records import ExcludedRecords
from surefoot.core.policy.policy_types import PAIRED_METRICS, Metric, ShiftGate

_REFUSED_SQL = "(error IS NOT NULL AND answered_by IS NULL)"
"""Tells a request that nobody could answer: the caller got no prediction."""
MAX_EXAMINED_ROWS = 200_000
"""Rows of a window that are looked at one by one [count]."""
LABEL_METRICS = (PAIRED_METRICS - {Metric.DISAGREEMENT}) | {Metric.VALUE, Metric.MISSING_LABEL, Metric.EXPECTED_LOSS}
"""Metrics that wait for labels."""
MAX_EXAMPLE_REQUESTS = 5
"""Requests that are named [count]."""


def count_excluded_records(
    log: SqlLog, question: EvidenceRequest, refused: Sequence[str] | None = None
) -> ExcludedRecords:
    """Count the logged requests and labels that the evidence for a gate excludes, by reason.

    Args:
        log: The records.
        question: What they are asked about.
        refused: Requests of a rollout that every version refuses; without it, those of the window that nobody answered
            are counted.
    """
    since, until = question.since, question.until
    where, parameters = f'"at" > {since!r} AND "at" <= {until!r}', ()
    if refused is not None:
        since, where, parameters = question.opened, SERVED_CONDITION_SQL, request_arms_parameters(question)[:4]  # type: ignore[assignment]
    records, rows, unanswered, unkept = log.query_rows(
        question.model,
        f"""
        WITH here AS (
          SELECT request, "row", count(*) AS n, bool_and({_REFUSED_SQL}) AS refused,
                 bool_and(features IS NULL) AS unkept
          FROM log WHERE {where} GROUP BY ALL
        )
        SELECT coalesce(sum(n), 0), count(*), count(DISTINCT request) FILTER (refused),
               count(DISTINCT request) FILTER (unkept AND NOT refused) FROM here
        """,  # noqa: S608 - constants and numbers of ours
        parameters,
    )[0]
    examined = refused is None and gate_uses_row_sample(log, question)
    sampled = log.sampled + (max(parse_count(rows) - MAX_EXAMINED_ROWS, 0) if examined else 0)
    made = ExcludedRecords(
        records=parse_count(records) + log.repeated,
        refused=parse_count(unanswered) if refused is None else len(refused),
        repeated=parse_count(records) - parse_count(rows) + log.repeated,
        unkept=parse_count(unkept) if refused is None else 0,
        sampled=sampled,
    )
    if not gate_needs_labels(question):
        return made
    return count_excluded_labels(log, question, made, where, parameters, since)


def gate_needs_labels(question: EvidenceRequest) -> bool:
    """Whether a gate's metric needs labels."""
    return question.gate.metric in LABEL_METRICS


def gate_uses_row_sample(log: SqlLog, question: EvidenceRequest) -> bool:
    """Whether a gate takes a sample of very many rows; sums are made of all."""
    gate = question.gate
    if isinstance(gate, ShiftGate):  # a replay compares all answers of both versions, and the latest inputs
        return gate.against != "champion" or not log.live
    return gate.metric is Metric.VALIDATION


def count_excluded_labels(
    log: SqlLog,
    question: EvidenceRequest,
    made: ExcludedRecords,
    where: str,
    parameters: tuple[object, ...],
    since: float,
) -> ExcludedRecords:
    """Count labels of unknown requests, and those whose times cannot be.

    Args:
        log: The records.
        question: What they are asked about.
        made: What was counted already.
        where: SQL that tells the records of the question.
        parameters: Its parameters.
        since: Beginning of the window of the labels [Unix seconds].
    """
    until = question.until
    unknown, early, future = log.query_rows(
        question.model,
        f"""
        WITH here AS (SELECT request, "row", min("at") AS "at" FROM log WHERE {where} GROUP BY ALL),
        reported AS (
          SELECT l."at" AS told, coalesce(l.received, 0) AS received, o."at" AS asked FROM labels l
          JOIN here o ON l.request = o.request AND l."row" = o."row"
        )
        SELECT (SELECT count(*) FROM labels l WHERE l."at" > {since!r} AND l."at" <= {until!r} AND NOT EXISTS
                 (SELECT 1 FROM log o WHERE o.request = l.request AND o."row" = l."row")),
               count(*) FILTER (told < asked), count(*) FILTER (told > {until!r} AND received <= {until!r})
        FROM reported
        """,  # noqa: S608 - same
        parameters,
    )[0]
    return replace(
        made, unknown=parse_count(unknown), early=parse_count(early), future=parse_count(future) if log.live else 0
    )


def merge_excluded_counts(one: ExcludedRecords, other: ExcludedRecords) -> ExcludedRecords:
    """Merge two counts of the same records, which count different reasons."""
    return ExcludedRecords(
        records=max(one.records, other.records),
        **{name: getattr(one, name) + getattr(other, name) for name in _SUMS},
        requests=(*one.requests, *other.requests)[:MAX_EXAMPLE_REQUESTS],
        what=one.what or other.what,
    )


_SUMS = (
    *("refused", "repeated", "unkept", "sampled", "unknown"),
    *("early", "future", "clipped", "dropped", "odd", "unplaced"),
)
