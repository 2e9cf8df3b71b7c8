"""Integer counts of what was served, by split and arm: the evidence of live gates."""

from surefoot.adapters.predictions import PredictionLog
from surefoot.core.evidence import LatencyCounts, Missing, Question, SplitCounts, Stratum
from surefoot.core.model import Outcome

LEAST_HISTORY = 100
"""Requests that the champion must have answered before its quantile can be frozen [count]."""

# The rows of one request stand or fall together, and a caller may repeat its request: the first row tells it all.
_ONCE = 'QUALIFY row_number() OVER (PARTITION BY request ORDER BY "at", "row") = 1'

# Both arms under every weight of this rollout; after promotion the candidate alone, as one stratum of share 1.
_ARMS = f"""
  SELECT CASE WHEN weight > 0 THEN weight / 100 ELSE 1 END AS share,
         CASE WHEN weight > 0 THEN arm ELSE 'candidate' END AS side, *
  FROM log
  WHERE rollout = $1 AND "at" <= $2 AND CASE WHEN $4 THEN weight = 0 AND version = $3 ELSE weight > 0 END
  {_ONCE}
"""  # noqa: S608 - the fragment is a constant


def _strata(found: list[tuple[object, ...]]) -> tuple[Stratum, ...]:
    """Fold (share, side, bad, good) rows into strata."""
    cells: dict[float, dict[str, tuple[int, int]]] = {}
    for share, side, bad, good in found:
        cells.setdefault(float(str(share)), {})[str(side)] = (int(str(bad)), int(str(good)))
    zero = (0, 0)
    return tuple(
        Stratum(share, *arms.get("candidate", zero), *arms.get("champion", zero))
        for share, arms in sorted(cells.items())
    )


def error_counts(log: PredictionLog, question: Question) -> SplitCounts | Missing:
    """Failures of both arms; a unit that sticks to one arm counts once under each weight.

    While the candidate serves alone there is no control to share a unit's luck with, so requests are counted.
    """
    alone = question.kind == "bake"
    scope = (question.rollout, question.until, question.candidate.number, alone)
    trial = "CASE WHEN $4 OR unit IS NULL THEN request ELSE unit END"
    counted = log.rows(
        question.model,
        f"""
        WITH arms AS ({_ARMS}), trials AS (
          SELECT share, side, {trial} AS trial, bool_or(error IS NOT NULL) AS bad FROM arms GROUP BY ALL
        )
        SELECT share, side, count(*) FILTER (bad), count(*) FILTER (NOT bad) FROM trials GROUP BY ALL
        """,  # noqa: S608 - the fragments are constants
        scope,
    )
    recent, units = log.rows(
        question.model,
        f'SELECT count(*) FILTER ("at" > $5), count(unit) FROM ({_ARMS})',  # noqa: S608 - the fragment is a constant
        (*scope, question.since),
    )[0]
    # While both serve the guess is frozen at the start; once the champion serves no more, all that it did counts.
    before = log.rows(
        question.model,
        "SELECT count(*), count(error) FROM"  # noqa: S608 - the fragment is a constant
        f" (SELECT error FROM log WHERE version = $1 AND \"at\" <= $2 AND arm = 'champion' {_ONCE})",
        (question.champion.number, question.until if alone else question.opened),
    )[0]
    asked, failed = int(str(before[0])), int(str(before[1]))
    strata = _strata(counted)
    if not strata:
        return Missing(Outcome.NO_DATA, "no request has been served under this rollout yet")
    named = "unit" if int(str(units)) and not alone else "request"
    return SplitCounts(strata, failed / asked if asked else None, named, int(str(recent)))


def latency_counts(log: PredictionLog, question: Question) -> LatencyCounts | Missing:
    """Requests slower than the champion's quantile as it was when the rollout opened."""
    quantile = question.gate.quantile
    count, threshold = log.rows(
        question.model,
        f"SELECT count(*), quantile_cont(latency_ms, {quantile:.6f}) FROM (SELECT latency_ms"  # noqa: S608 - a number
        f' FROM log WHERE version = $1 AND arm = \'champion\' AND "at" <= $2 AND "at" > $3 {_ONCE})',
        (question.champion.number, question.opened, question.opened - 7 * 86400.0),
    )[0]
    if int(str(count)) < LEAST_HISTORY:
        reason = (
            f"champion {question.champion.number} has answered {count} requests in 7 days: no quantile to compare with"
        )
        return Missing(Outcome.NO_DATA, reason)
    scope = (question.rollout, question.until, question.candidate.number, question.kind == "bake")
    limit = float(str(threshold))

    def above(stretch: float) -> tuple[Stratum, ...]:
        slow = f"latency_ms > CASE WHEN side = 'candidate' THEN {limit * stretch!r} ELSE {limit!r} END"
        both = f"count(*) FILTER ({slow}), count(*) FILTER (NOT ({slow}))"
        sql = f"SELECT share, side, {both} FROM ({_ARMS}) GROUP BY ALL"  # noqa: S608 - numbers of ours
        return _strata(log.rows(question.model, sql, scope))

    own = f"quantile_cont(latency_ms, {quantile:.6f})"
    sides = {
        str(side): (float(str(value)), int(str(n)))
        for side, value, n in log.rows(
            question.model,
            f'SELECT side, {own}, count(*) FILTER ("at" > $5) FROM ({_ARMS}) GROUP BY side',  # noqa: S608 - numbers of ours
            (*scope, question.since),
        )
    }
    stretched = {stretch: above(stretch) for stretch in question.stretches}
    return LatencyCounts(
        limit,
        above(1.0),
        stretched,
        sides["candidate"][0] if "candidate" in sides else None,
        sides["champion"][0] if "champion" in sides else None,
        sum(n for _, n in sides.values()),
    )
