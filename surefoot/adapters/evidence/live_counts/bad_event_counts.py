"""Count each arm's failed requests and other bad events in the prediction log."""

from collections import defaultdict
from collections.abc import Sequence

from surefoot.adapters.evidence.live_counts.arm_assignment import (
    FIRST_ROW_PER_REQUEST_SQL,
    LABELLED_CONDITION_SQL,
    StepRequestCount,
    count_step_requests,
    request_arms_parameters,
    request_arms_sql,
    slice_columns_sql,
)
from surefoot.adapters.evidence.live_counts.sql_log import SqlLog
from surefoot.adapters.evidence.live_counts.trial_counts import parse_count
from surefoot.core.canonical_text import format_slice_name
from surefoot.core.domain import EvidenceKind, Outcome
from surefoot.core.judging.evidence import BadEventCounts, BadEventStratum, MissingEvidence, SlicedCounts
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.policy.policy_types import Metric, SlicedGate, narrow_gate_type

# A unit sticks to its arm, so it is one trial however often it comes back: where it first went wrong, or else where
# it was seen last. Its arm is then one draw at the share of that moment, whatever happened before.
_TRIALS = """
  trials AS (
    SELECT slice, trial, bool_or(bad) AS bad,
           coalesce(arg_min(share, "at") FILTER (bad), arg_max(share, "at")) AS share,
           coalesce(arg_min(side, "at") FILTER (bad), arg_max(side, "at")) AS side,
           coalesce(arg_min(epoch, "at") FILTER (bad), arg_max(epoch, "at")) AS epoch
    FROM marked GROUP BY slice, trial
  )
"""
# Where every trial is a request, `marked` has one row of each already; to group these would take longer than all else.
_REQUEST_TRIALS = "trials AS (SELECT * FROM marked)"
_NONE = MissingEvidence(Outcome.NO_DATA, "no request has been served under this rollout yet")


def count_bad_events(
    log: SqlLog, question: EvidenceRequest, refused: Sequence[str] = ()
) -> BadEventCounts | SlicedCounts | MissingEvidence:
    """Count bad events in both arms; a unit (such as a user) that sticks to one arm counts once in each slice.

    While the candidate serves alone there is no control to share a unit's luck with, so requests are counted. A request
    that every version refuses is no trial of any.
    """
    facts = count_step_requests(log, question, refused)
    if isinstance(facts, MissingEvidence):
        return facts
    made: dict[str, BadEventCounts] = {}
    for column, value in slice_columns_sql(log, question):
        made |= _by_slice(log, question, facts, column, value, refused)
    if narrow_gate_type(question.gate, SlicedGate).by:
        return SlicedCounts(dict(sorted(made.items())), facts.recent) if made else _NONE
    return made.get("", _NONE)


def _by_slice(
    log: SqlLog, question: EvidenceRequest, facts: StepRequestCount, column: str, value: str, refused: Sequence[str]
) -> dict[str, BadEventCounts]:
    """Counts of every value of one column that was seen in this rollout or before it."""
    labelled = question.gate.metric is Metric.MISSING_LABEL
    maturity = question.gate.maturity
    bad = "error IS NOT NULL"
    mature = "true"
    if labelled:
        bad = f"NOT {LABELLED_CONDITION_SQL.format(of='timed', maturity=maturity)}"
        mature = f'"at" + {maturity!r} <= $2'
    trials = _TRIALS if facts.trial == "unit" else _REQUEST_TRIALS
    counted = log.query_rows(
        question.model,
        f"""
        WITH {request_arms_sql(question)},
        marked AS (SELECT *, {bad} AS bad, {value} AS slice FROM timed WHERE {mature}), {trials}
        SELECT slice, share, epoch, side, count(*) FILTER (bad), count(*) FILTER (NOT bad) FROM trials GROUP BY ALL
        """,  # noqa: S608 - constants, a number of ours and a name that the log has quoted
        request_arms_parameters(question, refused),
    )
    # While both serve the guess is frozen at the start; once the champion serves no more, all that it did counts.
    before = bad.replace("timed", "log") if labelled else bad
    known = question.until if question.kind == EvidenceKind.BAKE else question.opened
    history = log.query_rows(
        question.model,
        f"""
        SELECT {value} AS slice, count(*), count(*) FILTER ({before}) FROM (
          SELECT * FROM log WHERE version = $1 AND "at" <= $2 AND arm = 'champion'
          AND request NOT IN (SELECT unnest($3::VARCHAR[])) {FIRST_ROW_PER_REQUEST_SQL}
        ) AS log GROUP BY slice
        """,  # noqa: S608 - same
        (question.champion.number, known - (maturity if labelled else 0.0), list(refused)),
    )
    cells: dict[object, list[tuple[object, ...]]] = defaultdict(list)
    for slice_, *row in counted:
        cells[slice_].append(tuple(row))
    past = {slice_: (parse_count(asked), parse_count(failed)) for slice_, asked, failed in history}
    return {
        format_slice_name(column, slice_): BadEventCounts(
            _strata(cells.get(slice_, [])),
            past[slice_][1] / past[slice_][0] if slice_ in past else None,
            facts.trial,
            facts.recent,
            past.get(slice_, (0, 0))[0],
        )
        for slice_ in (cells.keys() | past.keys() if column else cells.keys())
    }


def _strata(found: list[tuple[object, ...]]) -> tuple[BadEventStratum, ...]:
    """Fold (share, epoch, side, bad, good) rows into strata."""
    cells: dict[tuple[float, int], dict[str, tuple[int, int]]] = defaultdict(dict)
    for share, epoch, side, bad, good in found:
        cells[float(str(share)), parse_count(epoch)][str(side)] = (parse_count(bad), parse_count(good))
    zero = (0, 0)
    return tuple(
        BadEventStratum(share, *arms.get("candidate", zero), *arms.get("champion", zero), epoch)
        for (share, epoch), arms in sorted(cells.items())
    )
