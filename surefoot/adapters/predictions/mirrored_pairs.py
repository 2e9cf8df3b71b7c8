"""Define the SQL query for both versions' answers to mirrored requests."""

from dataclasses import dataclass

MIRRORED_PAIRS_SQL = """
    WITH reported AS (
      SELECT request, "row",
             list({'at': "at", 'label': label} ORDER BY "at", received NULLS FIRST, label::VARCHAR) AS labels
      FROM labels WHERE "at" <= $3 GROUP BY ALL
    ), shadow AS (
      SELECT * FROM shadows WHERE request IS NOT NULL AND rollout = $1 AND version = $2 AND "at" <= $3
      QUALIFY row_number() OVER (PARTITION BY request, "row" ORDER BY "at") = 1
    ), own AS (
      SELECT * FROM log WHERE rollout = $1 AND weight = 0 AND "at" <= $3
      QUALIFY row_number() OVER (PARTITION BY request, "row" ORDER BY "at") = 1
    )
    SELECT o.request, o."row", o."at", o.prediction, CASE WHEN s.error IS NULL THEN s.prediction END, o.features,
           r.labels
    FROM own o JOIN shadow s ON o.request = s.request AND o."row" = s."row"
    LEFT JOIN reported r ON o.request = r.request AND o."row" = r."row"
    WHERE o.error IS NULL AND o.prediction IS NOT NULL AND coalesce(s.error, '') NOT LIKE 'Revoked:%'
      AND (s.error IS NOT NULL OR s.prediction IS NOT NULL)
    ORDER BY hash(o.request), o."row" LIMIT $4
"""
"""Rows of $1 (rollout), $2 (version of the shadow), $3 (end) and $4 (most rows); a request that was revoked, or whose
answer was left out of the log, tells nothing of either version."""


@dataclass(frozen=True, slots=True)
class MirroredPair:
    """Both versions' answers to one row of a mirrored request, and its labels.

    Attributes:
        key: (request id, row).
        at: When it was received [Unix seconds].
        champion: What the caller got, JSON value.
        candidate: What the shadow answered, JSON value; None where it failed.
        features: The row of the request, as far as it is kept.
        labels: What was reported to have come true, and when [Unix seconds], oldest first.
    """

    key: tuple[str, int]
    at: float
    champion: object
    candidate: object
    features: dict[str, object]
    labels: tuple[tuple[float, object], ...] = ()
