"""Build SQL views that show recorded requests under a traffic split."""

from collections.abc import Sequence

from surefoot.adapters.predictions.recorded.column_sql import double_literal_sql, feature_column_name, text_literal_sql
from surefoot.adapters.predictions.recorded.column_types import VERSION_COLUMNS
from surefoot.core.domain import Split


def served_requests_sql(since: float, until: float, split: Split, candidate: str, features: Sequence[str]) -> str:
    """SQL of the requests served while one traffic split was in force, as the gateway would have logged them.

    Args:
        since: Beginning [Unix seconds].
        until: End, not included [Unix seconds].
        split: The split.
        candidate: Number of the version that the file calls the candidate.
        features: Features of the file.
    """
    trial = split.candidate.number if split.candidate and split.weight > 0.0 else ""
    serving = split.champion.number
    who = "candidate" if serving == candidate else "champion"
    weight = double_literal_sql(split.weight)
    side = f"CASE WHEN NOT paired THEN alone WHEN place < {weight} THEN 'candidate' ELSE 'champion' END"
    own = ", ".join(
        f"CASE WHEN side = 'candidate' THEN candidate_{name} ELSE champion_{name} END AS {name}"
        for name in VERSION_COLUMNS
        if name != "version"
    )
    kept = "".join(f", {feature_column_name(name)}" for name in features)
    answered = "true" if trial else f"(paired OR alone = '{who}')"
    return f"""
        SELECT request, "row", "at", unit, {"side" if trial else "'champion'"} AS arm,
               CASE WHEN {text_literal_sql(trial)} <> '' AND side = 'candidate' THEN {text_literal_sql(trial)}
               ELSE {text_literal_sql(serving)} END AS version,
               {f"CASE WHEN paired THEN {weight} ELSE recorded END" if trial else "0.0::DOUBLE"}
               AS weight, {text_literal_sql(split.rollout)} AS rollout, '{{}}' AS features,
               CASE WHEN paired AND champion_error IS NOT NULL AND candidate_error IS NOT NULL THEN NULL
               ELSE coalesce(candidate_version, champion_version) END AS answered_by, {own}, {_OWN_TIME} {kept}
        FROM (SELECT *, {side if trial else f"'{who}'"} AS side FROM pairs)
        WHERE "at" >= {double_literal_sql(since)} AND "at" < {double_literal_sql(until)} AND {answered}
    """  # noqa: S608 - names are ours, a version and a rollout are quoted


# Both versions were measured alike, and no gateway stands between: the recorded latency is the model's own.
_OWN_TIME = "CASE WHEN side = 'candidate' THEN candidate_latency_ms ELSE champion_latency_ms END AS model_ms"
_OWN_TIME += ", NULL::INTEGER AS batch"


def mirrored_requests_sql(since: float, until: float, split: Split) -> str:
    """SQL of the candidate's answers to mirrored requests during one traffic split; every pair counts as mirrored.

    Args:
        since: Beginning [Unix seconds].
        until: End, not included [Unix seconds].
        split: The split.
    """
    own = ", ".join(f"candidate_{name} AS {name}" for name in VERSION_COLUMNS)
    return f"""
        SELECT request, "row", "at", unit, {text_literal_sql(split.rollout)} AS rollout, {own},
               candidate_latency_ms AS model_ms, NULL::INTEGER AS batch, NULL::BIGINT AS dropped
        FROM pairs WHERE paired AND "at" >= {double_literal_sql(since)} AND "at" < {double_literal_sql(until)}
              AND {double_literal_sql(split.mirror)} > 0
    """  # noqa: S608 - names are ours, a rollout is quoted
