"""Count each arm's latencies and other measurements in a histogram."""

from collections import defaultdict
from collections.abc import Sequence

from surefoot.adapters.evidence.live_counts.arm_assignment import (
    FIRST_ROW_PER_REQUEST_SQL,
    StepRequestCount,
    count_step_requests,
    measured_column,
    request_arms_parameters,
    request_arms_sql,
    slice_columns_sql,
)
from surefoot.adapters.evidence.live_counts.sql_log import SqlLog
from surefoot.adapters.evidence.live_counts.trial_counts import group_trial_counts, parse_count
from surefoot.core.canonical_text import format_slice_name
from surefoot.core.judging.evidence import (
    BucketCounts,
    MeasurementCounts,
    MeasurementStratum,
    MissingEvidence,
    SlicedCounts,
)
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.policy.policy_types import MeasurementGate, narrow_gate_type
from surefoot.core.stats.histogram import BUCKET_RATIO, LOWEST_BUCKET

_BASELINE_WINDOW_S = 7 * 86400.0
"""How far back the champion's own measurements count when its quantiles are frozen [seconds]."""
_ONE_PER_TRIAL_SQL = "QUALIFY row_number() OVER (PARTITION BY slice, trial ORDER BY hash(request), request) = 1"
"""One request of each trial, drawn by its id: where a unit sticks to one arm, its requests are one draw of an arm."""


def _histogram(found: dict[int, int]) -> BucketCounts:
    return tuple(sorted(found.items()))


def count_measurements(
    log: SqlLog, question: EvidenceRequest, refused: Sequence[str] = ()
) -> MeasurementCounts | SlicedCounts | MissingEvidence:
    """Log-bucket histograms of a measurement in both arms, and the champion's from before the rollout.

    A unit that sticks to one arm is one trial, by one of its requests: a draw that does not look at the measurement.
    """
    facts = count_step_requests(log, question, refused)
    if isinstance(facts, MissingEvidence):
        return facts
    made: dict[str, MeasurementCounts] = {}
    for column, value in slice_columns_sql(log, question):
        made |= _speeds(log, question, facts, column, value, refused)
    if narrow_gate_type(question.gate, MeasurementGate).by:
        return SlicedCounts(dict(sorted(made.items())), facts.recent)
    return made.get("", MeasurementCounts((), (), _unit(measured_column(question)), facts.recent, facts.trial))


def _unit(column: str) -> str:
    if column == "model_ms":
        return "ms (model alone)"
    return "ms" if column.endswith("_ms") else column


def _speeds(
    log: SqlLog, question: EvidenceRequest, facts: StepRequestCount, column: str, value: str, refused: Sequence[str]
) -> dict[str, MeasurementCounts]:
    name = measured_column(question)
    measured = f'"{name}"'
    above = f"CAST(floor(ln({measured}) / ln({BUCKET_RATIO})) AS INTEGER)"
    bucket = f"CASE WHEN {measured} > 0 THEN {above} ELSE {LOWEST_BUCKET} END"
    found = log.query_rows(
        question.model,
        f"""
        WITH {request_arms_sql(question)}, drawn AS (
          SELECT *, {value} AS slice FROM timed WHERE {measured} IS NOT NULL {_ONE_PER_TRIAL_SQL}
        )
        SELECT slice, share, epoch, side, {bucket} AS bucket, count(*) FROM drawn GROUP BY ALL
        """,  # noqa: S608 - constants and names that the policy parser or the log has checked
        request_arms_parameters(question, refused),
    )
    baseline = log.query_rows(
        question.model,
        f"""
        WITH past AS (
          SELECT *, {value} AS slice, CASE WHEN $4 AND trim(unit) <> '' THEN unit ELSE request END AS trial FROM (
            SELECT * FROM log WHERE version = $1 AND arm = 'champion' AND "at" <= $2 AND "at" > $3
            {FIRST_ROW_PER_REQUEST_SQL}
          ) AS log WHERE {measured} IS NOT NULL {_ONE_PER_TRIAL_SQL}
        )
        SELECT slice, {bucket} AS bucket, count(*) FROM past GROUP BY ALL
        """,  # noqa: S608 - same
        (question.champion.number, question.opened, question.opened - _BASELINE_WINDOW_S, facts.trial == "unit"),
    )
    cells = group_trial_counts(found)
    past: dict[object, dict[int, int]] = defaultdict(dict)
    for slice_, number, n in baseline:
        past[slice_][parse_count(number)] = parse_count(n)
    return {
        format_slice_name(column, slice_): MeasurementCounts(
            tuple(
                MeasurementStratum(share, _histogram(arms["candidate"]), _histogram(arms["champion"]), epoch)
                for (share, epoch), arms in sorted(cells.get(slice_, {}).items())
            ),
            _histogram(past.get(slice_, {})),
            _unit(name),
            facts.recent,
            facts.trial,
        )
        for slice_ in cells.keys() | past.keys()
    }
