"""Count speeds, such as latency, in histogram buckets, and compare process gauges, such as memory, in time blocks."""

from collections import defaultdict
from collections.abc import Sequence

from surefoot.adapters.evidence.served_traffic import (
    FIRST_PER_REQUEST_SQL,
    ServedTraffic,
    SqlLog,
    count_served_traffic,
    measured_column,
    parse_count,
    query_parameters,
    slice_columns_sql,
    timed_arms_sql,
)
from surefoot.core.canonical_text import slice_name
from surefoot.core.judging.evidence import (
    BucketCounts,
    GaugeCounts,
    MissingEvidence,
    SlicedCounts,
    SpeedCounts,
    SpeedStratum,
)
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.policy.policy_types import GaugeGate, SpeedGate, narrow
from surefoot.core.stats.histogram import BUCKET_RATIO, LOWEST_BUCKET

_BASELINE_WINDOW_S = 7 * 86400.0
"""How far back the champion's own measurements count when its quantiles are frozen [seconds]."""
_ONE_PER_TRIAL_SQL = "QUALIFY row_number() OVER (PARTITION BY slice, trial ORDER BY hash(request), request) = 1"
"""One request of each trial, drawn by its id: where a unit sticks to one arm, its requests are one draw of an arm."""
_TrialCounts = dict[tuple[float, int], dict[str, dict[int, int]]]
"""(share, epoch) -> side -> level -> trials."""


def fold_trial_counts(found: list[tuple[object, ...]]) -> dict[object, _TrialCounts]:
    """Fold (slice, share, epoch, side, level, trials) rows."""
    made: dict[object, _TrialCounts] = defaultdict(lambda: defaultdict(lambda: {"candidate": {}, "champion": {}}))
    for slice_, share, epoch, side, level, n in found:
        made[slice_][float(str(share)), parse_count(epoch)][str(side)][parse_count(level)] = parse_count(n)
    return made


def _histogram(found: dict[int, int]) -> BucketCounts:
    return tuple(sorted(found.items()))


def count_speeds(
    log: SqlLog, question: EvidenceRequest, refused: Sequence[str] = ()
) -> SpeedCounts | SlicedCounts | MissingEvidence:
    """Log-bucket histograms of a measurement, and the champion's own as it was when the rollout opened.

    A unit that sticks to one arm is one trial, by one of its requests: a draw that does not look at the measurement.
    """
    facts = count_served_traffic(log, question, refused)
    if isinstance(facts, MissingEvidence):
        return facts
    made: dict[str, SpeedCounts] = {}
    for column, value in slice_columns_sql(log, question):
        made |= _speeds(log, question, facts, column, value, refused)
    if narrow(question.gate, SpeedGate).by:
        return SlicedCounts(dict(sorted(made.items())), facts.recent)
    return made.get("", SpeedCounts((), (), _unit(measured_column(question)), facts.recent, facts.trial))


def _unit(column: str) -> str:
    if column == "model_ms":
        return "ms (model alone)"
    return "ms" if column.endswith("_ms") else column


def _speeds(
    log: SqlLog, question: EvidenceRequest, facts: ServedTraffic, column: str, value: str, refused: Sequence[str]
) -> dict[str, SpeedCounts]:
    name = measured_column(question)
    measured = f'"{name}"'
    above = f"CAST(floor(ln({measured}) / ln({BUCKET_RATIO})) AS INTEGER)"
    bucket = f"CASE WHEN {measured} > 0 THEN {above} ELSE {LOWEST_BUCKET} END"
    found = log.rows(
        question.model,
        f"""
        WITH {timed_arms_sql(question)}, drawn AS (
          SELECT *, {value} AS slice FROM timed WHERE {measured} IS NOT NULL {_ONE_PER_TRIAL_SQL}
        )
        SELECT slice, share, epoch, side, {bucket} AS bucket, count(*) FROM drawn GROUP BY ALL
        """,  # noqa: S608 - constants and names that the policy parser or the log has checked
        query_parameters(question, refused),
    )
    baseline = log.rows(
        question.model,
        f"""
        WITH past AS (
          SELECT *, {value} AS slice, CASE WHEN $4 AND trim(unit) <> '' THEN unit ELSE request END AS trial FROM (
            SELECT * FROM log WHERE version = $1 AND arm = 'champion' AND "at" <= $2 AND "at" > $3
            {FIRST_PER_REQUEST_SQL}
          ) AS log WHERE {measured} IS NOT NULL {_ONE_PER_TRIAL_SQL}
        )
        SELECT slice, {bucket} AS bucket, count(*) FROM past GROUP BY ALL
        """,  # noqa: S608 - same
        (question.champion.number, question.opened, question.opened - _BASELINE_WINDOW_S, facts.trial == "unit"),
    )
    cells = fold_trial_counts(found)
    past: dict[object, dict[int, int]] = defaultdict(dict)
    for slice_, number, n in baseline:
        past[slice_][parse_count(number)] = parse_count(n)
    return {
        slice_name(column, slice_): SpeedCounts(
            tuple(
                SpeedStratum(share, _histogram(arms["candidate"]), _histogram(arms["champion"]), epoch)
                for (share, epoch), arms in sorted(cells.get(slice_, {}).items())
            ),
            _histogram(past.get(slice_, {})),
            _unit(name),
            facts.recent,
            facts.trial,
        )
        for slice_ in cells.keys() | past.keys()
    }


def count_gauges(log: SqlLog, question: EvidenceRequest, refused: Sequence[str] = ()) -> GaugeCounts | MissingEvidence:
    """Blocks of time in which both versions showed a gauge, by which was higher; the one under way is left out."""
    facts = count_served_traffic(log, question, refused)
    if isinstance(facts, MissingEvidence):
        return facts
    gate = narrow(question.gate, GaugeGate)
    column, block, limit = f'"{gate.column}"', gate.block, 1.0 + gate.margin
    above, below, highest, beside = log.rows(
        question.model,
        f"""
        WITH {timed_arms_sql(question)}, blocks AS (
          SELECT max({column}) FILTER (side = 'candidate') AS mine, max({column}) FILTER (side = 'champion') AS theirs
          FROM timed WHERE (floor("at" / {block!r}) + 1) * {block!r} <= $2 GROUP BY floor("at" / {block!r})
        )
        SELECT count(*) FILTER (mine > theirs * {limit!r}), count(*) FILTER (mine <= theirs * {limit!r}),
               max(mine) FILTER (theirs IS NOT NULL), max(theirs) FILTER (mine IS NOT NULL)
        FROM blocks
        """,  # noqa: S608 - constants, numbers of ours and a name that the policy parser has checked
        query_parameters(question, refused),
    )[0]
    peaks = [0.0 if value is None else float(str(value)) for value in (highest, beside)]
    return GaugeCounts(parse_count(above), parse_count(below), peaks[0], peaks[1], facts.recent)
