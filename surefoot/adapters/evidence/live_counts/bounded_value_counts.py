"""Count each version's label values in bins of a bounded range, to judge a mean."""

from collections.abc import Sequence

from surefoot.adapters.evidence.excluded_counts import MAX_EXAMPLE_REQUESTS
from surefoot.adapters.evidence.live_counts.arm_assignment import (
    FIRST_ROW_PER_REQUEST_SQL,
    StepRequestCount,
    count_step_requests,
    request_arms_parameters,
    request_arms_sql,
    slice_columns_sql,
)
from surefoot.adapters.evidence.live_counts.sql_log import SqlLog
from surefoot.adapters.evidence.live_counts.trial_counts import group_trial_counts, parse_count
from surefoot.core.canonical_text import format_slice_name
from surefoot.core.domain import Outcome
from surefoot.core.judging.evidence import MissingEvidence, SlicedCounts, ValueCounts, ValueStratum
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.excluded_records import ExcludedRecords
from surefoot.core.policy.policy_types import ValueGate, narrow_gate_type
from surefoot.core.stats.bounded_mean import VALUE_LEVELS

_INVALID_LABEL_SQL = "told IS NOT NULL AND (told.v IS NULL OR NOT isfinite(told.v))"
"""Tells a request whose label holds no number."""


def count_bounded_values(
    log: SqlLog, question: EvidenceRequest, refused: Sequence[str] = ()
) -> ValueCounts | SlicedCounts | MissingEvidence:
    """Count the values of a label in buckets for each arm; a unit's value is the mean over its requests.

    Values between two levels go up or down by a draw that the trial's name decides, so that the mean stays right and
    the same trial falls the same way wherever it is counted. Values beyond the bounds count as the nearer one, and are
    counted; below a bound that the policy does not name, nothing is judged.
    """
    facts = count_step_requests(log, question, refused)
    if isinstance(facts, MissingEvidence):
        return facts
    gate = narrow_gate_type(question.gate, ValueGate)
    below, left = _left(log, question, gate, refused)
    if below and not gate.has_floor:
        reason = f"{below:,} values are below 0, and the policy says no 'floor': they would all count as 0"
        return MissingEvidence(Outcome.ERROR, reason)
    made: dict[str, ValueCounts] = {}
    for column, value in slice_columns_sql(log, question):
        made |= _values(log, question, gate, facts, column, value, refused, left)
    if gate.by and made:
        return SlicedCounts(dict(sorted(made.items())), facts.recent, left)
    return made.get("", MissingEvidence(Outcome.NO_DATA, "no request of this rollout is old enough to have its value"))


def _told(gate: ValueGate, of: str) -> str:
    """What a request's label said when it had matured, as SQL; NULL without one, NULL inside where it is no number."""
    path = f"json_extract(label, '$.\"{gate.column}\"')" if gate.column != "label" else "label"
    return f"""
      (SELECT last({{'v': TRY_CAST({path} AS DOUBLE)}} ORDER BY l."at", l.received NULLS FIRST) FROM labels l
       WHERE l.request = {of}.request AND l."at" <= {of}."at" + {gate.maturity!r})
    """  # noqa: S608 - numbers of ours and a name that the policy parser has checked


def _share(gate: ValueGate) -> str:
    """Where a value lies between its bounds, as SQL; a request without a label in time has brought nothing."""
    return f"least(greatest((coalesce(told.v, 0) - {gate.floor!r}) / {gate.cap - gate.floor!r}, 0), 1)"


def _left(
    log: SqlLog, question: EvidenceRequest, gate: ValueGate, refused: Sequence[str]
) -> tuple[int, ExcludedRecords]:
    """Values below the lower bound, and everything that is clipped or cannot be read."""
    below, above, odd, named = log.query_rows(
        question.model,
        f"""
        WITH {request_arms_sql(question)}, known AS (
          SELECT request, {_told(gate, "timed")} AS told FROM timed WHERE "at" + {gate.maturity!r} <= $2
        )
        SELECT count(*) FILTER (isfinite(told.v) AND told.v < {gate.floor!r}),
               count(*) FILTER (isfinite(told.v) AND told.v > {gate.cap!r}),
               count(*) FILTER ({_INVALID_LABEL_SQL}),
               min(request, {MAX_EXAMPLE_REQUESTS}) FILTER ({_INVALID_LABEL_SQL}) FROM known
        """,  # noqa: S608 - constants, numbers of ours and names that were checked
        request_arms_parameters(question, refused),
    )[0]
    requests = tuple(str(request) for request in named or ())  # type: ignore[attr-defined]
    what = "labels without a number as value" if requests else ""
    return parse_count(below), ExcludedRecords(
        clipped=parse_count(below) + parse_count(above), odd=parse_count(odd), requests=requests, what=what
    )


def _values(
    log: SqlLog,
    question: EvidenceRequest,
    gate: ValueGate,
    facts: StepRequestCount,
    column: str,
    sliced: str,
    refused: Sequence[str],
    left: ExcludedRecords,
) -> dict[str, ValueCounts]:
    draw = "md5_number_lower(trial) / 18446744073709551616.0"
    found = log.query_rows(
        question.model,
        f"""
        WITH {request_arms_sql(question)}, known AS (
          SELECT *, {_told(gate, "timed")} AS told, {sliced} AS slice FROM timed WHERE "at" + {gate.maturity!r} <= $2
        ), trials AS (
          SELECT slice, trial, arg_max(share, "at") AS share, arg_max(side, "at") AS side,
                 arg_max(epoch, "at") AS epoch, round(avg({_share(gate)}), 9) AS value
          FROM known WHERE NOT ({_INVALID_LABEL_SQL}) GROUP BY slice, trial
        )
        SELECT slice, share, epoch, side,
               CAST(least({VALUE_LEVELS - 1}, floor(value * {VALUE_LEVELS - 1} + {draw})) AS INTEGER), count(*)
        FROM trials GROUP BY ALL
        """,  # noqa: S608 - constants, numbers of ours and names that the policy parser or the log has checked
        request_arms_parameters(question, refused),
    )
    centers = log.query_rows(
        question.model,
        f"""
        SELECT slice, avg({_share(gate)}) FROM (
          SELECT {_told(gate, "log")} AS told, {sliced} AS slice FROM (
            SELECT * FROM log WHERE version = $1 AND arm = 'champion' AND "at" <= $2 {FIRST_ROW_PER_REQUEST_SQL}
          ) AS log
        ) WHERE NOT ({_INVALID_LABEL_SQL}) GROUP BY slice
        """,  # noqa: S608 - same
        (question.champion.number, question.opened - gate.maturity),
    )
    cells = group_trial_counts(found)
    past = {slice_: round(float(str(mean)), 6) for slice_, mean in centers if mean is not None}
    return {
        format_slice_name(column, slice_): ValueCounts(
            tuple(
                ValueStratum(share, _levels(arms["candidate"]), _levels(arms["champion"]), epoch)
                for (share, epoch), arms in sorted(cells.get(slice_, {}).items())
            ),
            past.get(slice_),
            facts.trial,
            facts.recent,
            left,
        )
        for slice_ in (cells.keys() | past.keys() if column else cells.keys())
    }


def _levels(found: dict[int, int]) -> tuple[int, ...]:
    return tuple(found.get(level, 0) for level in range(VALUE_LEVELS))
