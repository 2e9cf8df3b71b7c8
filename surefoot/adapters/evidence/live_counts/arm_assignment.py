"""Build the SQL that assigns logged requests to arms (champion or candidate), and count a step's requests."""

from collections.abc import Sequence
from dataclasses import dataclass

from surefoot.adapters.evidence.live_counts.sql_log import SqlLog
from surefoot.adapters.evidence.live_counts.trial_counts import parse_count
from surefoot.core.domain import EvidenceKind, Outcome
from surefoot.core.gates.bad_event_rate import MAX_EPOCHS
from surefoot.core.judging.evidence import MissingEvidence
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.policy.policy_types import GaugeGate, LatencyGate, MeasurementGate, SlicedGate, narrow_gate_type

# The rows of one request stand or fall together, and a caller may repeat its request: the first row tells it all.
FIRST_ROW_PER_REQUEST_SQL = 'QUALIFY row_number() OVER (PARTITION BY request ORDER BY "at", "row") = 1'

# Both arms under every weight of this rollout; after promotion the candidate alone, as one stratum of share 1.
# An epoch counts from the first request of the rollout; whatever comes after the planned end is in the last one.
SERVED_CONDITION_SQL = (
    'rollout = $1 AND "at" <= $2 AND CASE WHEN $4 THEN weight = 0 AND version = $3 ELSE weight > 0 END'
)
# What every version refuses is evidence about none of them.
_SERVED = f"""
    SELECT CASE WHEN weight > 0 THEN weight / 100 ELSE 1 END AS share,
           CASE WHEN weight > 0 THEN arm ELSE 'candidate' END AS side, *
    FROM log WHERE {SERVED_CONDITION_SQL} AND request NOT IN (SELECT unnest($6::VARCHAR[]))
"""  # noqa: S608 - constant

# What one version did with a mirrored request; a request that was revoked tells nothing of either version.
_SHADOW = f"""
    SELECT * FROM shadows WHERE request IS NOT NULL AND rollout = $1 AND "at" <= $2 AND version = $3
    AND coalesce(error, '') NOT LIKE 'Revoked:%' {FIRST_ROW_PER_REQUEST_SQL}
"""  # noqa: S608 - constant
_CHAMPION = f"""
    SELECT * FROM log WHERE rollout = $1 AND "at" <= $2 AND weight = 0 AND arm = 'champion' {FIRST_ROW_PER_REQUEST_SQL}
"""  # noqa: S608 - constant
_BOTH_ANSWERED_SQL = "own.error IS NULL AND twin.error IS NULL"
_ONE_ANSWERED = "(own.error IS NULL OR twin.error IS NULL)"  # what both refuse is evidence about neither
# A batch shares what a call costs among its rows, so only requests that were asked in batches of one size compare.
_COMPARABLE = "own.{column} IS NOT NULL AND twin.{column} IS NOT NULL AND own.batch IS NOT DISTINCT FROM twin.batch"
_MIRRORED_SQL = f"""
    shadow AS ({_SHADOW}), champion AS ({_CHAMPION}), mirrored AS (
      SELECT 0.5 AS share, 'champion' AS side, own.* FROM champion own JOIN shadow twin USING (request) WHERE {{which}}
      UNION ALL
      SELECT 0.5, 'candidate', own.* REPLACE (twin.version AS version, twin.error AS error, twin.cpu_ms AS cpu_ms,
             twin.rss_mb AS rss_mb, twin.model_ms AS model_ms, twin.batch AS batch, NULL AS latency_ms)
      FROM champion own JOIN shadow twin USING (request) WHERE {{which}}
    )
"""  # noqa: S608 - the fragments are constants
"""Both versions' records of the same mirrored requests, as if each had been given half of them."""


_COUNTED = "SELECT * FROM mirrored WHERE NOT $4 AND request NOT IN (SELECT unnest($6::VARCHAR[]))"


def measured_column(question: EvidenceRequest) -> str:
    """Column of the log that a latency, resource or gauge gate measures.

    A latency counts queues, batches and the gateway, and a shadow's process lets all others go first: of mirrored
    requests the times of the models themselves are compared.
    """
    gate = question.gate
    if question.kind == EvidenceKind.LIVE_SHADOW and isinstance(gate, LatencyGate):
        return "model_ms"
    return gate.column if isinstance(gate, GaugeGate) else narrow_gate_type(gate, MeasurementGate).measured


def request_arms_sql(question: EvidenceRequest) -> str:
    """SQL of the table `timed`: each request once for each arm that answers for it, with its epoch and its trial."""
    if question.kind == EvidenceKind.LIVE_SHADOW:
        speeds = isinstance(question.gate, MeasurementGate | GaugeGate)
        which = _COMPARABLE.format(column=f'"{measured_column(question)}"') if speeds else _ONE_ANSWERED
        if isinstance(question.gate, GaugeGate):
            which = which.partition(" AND own.batch")[0]  # a process has one memory, whatever it is asked at once
        # A request is in both arms, and one trial in each.
        arms, trial = f"{_MIRRORED_SQL.format(which=which)}, arms AS ({_COUNTED})", "concat(request, ' ', side)"
    else:
        arms = f"arms AS ({_SERVED} {FIRST_ROW_PER_REQUEST_SQL})"
        trial = "CASE WHEN $4 OR trim(coalesce(unit, '')) = '' THEN request ELSE unit END"
    return f"""
      {arms}, timed AS (
        SELECT *, CAST(least({MAX_EPOCHS - 1}, floor(("at" - min("at") OVER ()) / $5)) AS INTEGER) AS epoch,
               {trial} AS trial
        FROM arms
      )
    """  # noqa: S608 - the fragments are constants


LABELLED_CONDITION_SQL = (
    'EXISTS (SELECT 1 FROM labels l WHERE l.request = {of}.request AND l."at" <= {of}."at" + {maturity!r})'
)


@dataclass(frozen=True, slots=True)
class StepRequestCount:
    """How many requests a rollout step has served, and whether one trial is a request or a sticky unit.

    Attributes:
        recent: Requests of both arms since the step began [count].
        trial: What one trial is, for people.
    """

    recent: int
    trial: str


def request_arms_parameters(question: EvidenceRequest, refused: Sequence[str] = ()) -> tuple[object, ...]:
    """Parameters $1 to $6 of `request_arms_sql`."""
    alone = question.kind == EvidenceKind.BAKE
    epoch = max(question.epoch, 1.0)
    return (question.rollout, question.until, question.candidate.number, alone, epoch, list(refused))


def count_step_requests(
    log: SqlLog, question: EvidenceRequest, refused: Sequence[str] = ()
) -> StepRequestCount | MissingEvidence:
    """Count the requests that this rollout has served or mirrored so far.

    Two versions in one arm of one rollout are two series, and no verdict is about both: then it is an ERROR.
    """
    if question.kind == EvidenceKind.LIVE_SHADOW:
        return StepRequestCount(_count_answered_by_both(log, question), "request")
    found = log.query_rows(
        question.model,
        f"""
        SELECT side, count(DISTINCT request) FILTER ("at" > $5), count(unit) FILTER (trim(unit) <> ''),
               min(version), max(version)
        FROM ({_SERVED}) GROUP BY side
        """,  # noqa: S608 - constant
        (*request_arms_parameters(question)[:4], question.since, list(refused)),
    )
    for side, _, _, first, last in found:
        if first != last:
            reason = f"several versions served as the {side} of one rollout ({first}, {last}): no one series"
            return MissingEvidence(Outcome.ERROR, reason)
    units = sum(parse_count(row[2]) for row in found)
    trial = "unit" if units and question.kind != EvidenceKind.BAKE else "request"
    return StepRequestCount(sum(parse_count(row[1]) for row in found), trial)


def _count_answered_by_both(log: SqlLog, question: EvidenceRequest) -> int:
    """Mirrored requests that both versions have answered [count]."""
    sql = f"""
        WITH shadow AS ({_SHADOW}), champion AS ({_CHAMPION})
        SELECT count(*) FROM champion own JOIN shadow twin USING (request) WHERE {_BOTH_ANSWERED_SQL}
    """  # noqa: S608 - constants
    return parse_count(log.query_rows(question.model, sql, request_arms_parameters(question)[:3])[0][0])


def slice_columns_sql(log: SqlLog, question: EvidenceRequest) -> list[tuple[str, str]]:
    """Slice columns of a gate as (column, SQL of its value); one pair of empty texts where the gate has no slices."""
    return [(column, log.slice_sql(column)) for column in narrow_gate_type(question.gate, SlicedGate).by] or [
        ("", "''")
    ]
