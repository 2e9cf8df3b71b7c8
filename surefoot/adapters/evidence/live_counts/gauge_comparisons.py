"""Count the time blocks in which the candidate's gauge is clearly higher."""

from collections.abc import Sequence

from surefoot.adapters.evidence.live_counts.arm_assignment import (
    count_step_requests,
    request_arms_parameters,
    request_arms_sql,
)
from surefoot.adapters.evidence.live_counts.sql_log import SqlLog
from surefoot.adapters.evidence.live_counts.trial_counts import parse_count
from surefoot.core.judging.evidence import (
    GaugeComparisons,
    MissingEvidence,
)
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.policy.policy_types import GaugeGate, narrow_gate_type


def compare_gauges(
    log: SqlLog, question: EvidenceRequest, refused: Sequence[str] = ()
) -> GaugeComparisons | MissingEvidence:
    """Count the finished time blocks in which both versions reported a gauge, by whether the candidate's was higher."""
    facts = count_step_requests(log, question, refused)
    if isinstance(facts, MissingEvidence):
        return facts
    gate = narrow_gate_type(question.gate, GaugeGate)
    column, block, limit = f'"{gate.column}"', gate.block, 1.0 + gate.margin
    above, below, highest, beside = log.query_rows(
        question.model,
        f"""
        WITH {request_arms_sql(question)}, blocks AS (
          SELECT max({column}) FILTER (side = 'candidate') AS mine, max({column}) FILTER (side = 'champion') AS theirs
          FROM timed WHERE (floor("at" / {block!r}) + 1) * {block!r} <= $2 GROUP BY floor("at" / {block!r})
        )
        SELECT count(*) FILTER (mine > theirs * {limit!r}), count(*) FILTER (mine <= theirs * {limit!r}),
               max(mine) FILTER (theirs IS NOT NULL), max(theirs) FILTER (mine IS NOT NULL)
        FROM blocks
        """,  # noqa: S608 - constants, numbers of ours and a name that the policy parser has checked
        request_arms_parameters(question, refused),
    )[0]
    peaks = [0.0 if value is None else float(str(value)) for value in (highest, beside)]
    return GaugeComparisons(parse_count(above), parse_count(below), peaks[0], peaks[1], facts.recent)
