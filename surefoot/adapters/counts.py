"""Integer counts of what was served, by split, arm and stretch of time: the evidence of live gates."""

from collections import defaultdict
from typing import Protocol

from surefoot.core.evidence import (
    Counts,
    Missing,
    SpeedCounts,
    SpeedStratum,
    SplitCounts,
    Stratum,
    ValueCounts,
    ValueStratum,
)
from surefoot.core.gates.rate import EPOCHS
from surefoot.core.model import Outcome
from surefoot.core.policy import Metric
from surefoot.core.question import Question
from surefoot.core.stats.bounded import LEVELS
from surefoot.core.stats.histogram import LOWEST

HISTORY = 7 * 86400.0
"""How far back the champion's own measurements count when its quantiles are frozen [seconds]."""


class Log(Protocol):
    """Something that answers SQL over the views `log` and `labels`."""

    def rows(self, model: str, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """Run one query."""
        ...


# The rows of one request stand or fall together, and a caller may repeat its request: the first row tells it all.
_ONCE = 'QUALIFY row_number() OVER (PARTITION BY request ORDER BY "at", "row") = 1'

# Both arms under every weight of this rollout; after promotion the candidate alone, as one stratum of share 1.
# An epoch counts from the first request of the rollout; whatever comes after the planned end is in the last one.
_ARMS = f"""
  arms AS (
    SELECT CASE WHEN weight > 0 THEN weight / 100 ELSE 1 END AS share,
           CASE WHEN weight > 0 THEN arm ELSE 'candidate' END AS side, *
    FROM log
    WHERE rollout = $1 AND "at" <= $2 AND CASE WHEN $4 THEN weight = 0 AND version = $3 ELSE weight > 0 END
    {_ONCE}
  ), timed AS (
    SELECT *, CAST(least({EPOCHS - 1}, floor(("at" - min("at") OVER ()) / $5)) AS INTEGER) AS epoch,
           CASE WHEN $4 OR unit IS NULL THEN request ELSE unit END AS trial
    FROM arms
  )
"""  # noqa: S608 - the fragments are constants

# A unit sticks to its arm, so it is one trial however often it comes back: where it first went wrong, or else where
# it was seen last. Its arm is then one draw at the share of that moment, whatever happened before.
_TRIALS = """
  trials AS (
    SELECT trial, bool_or(bad) AS bad,
           coalesce(arg_min(share, "at") FILTER (bad), arg_max(share, "at")) AS share,
           coalesce(arg_min(side, "at") FILTER (bad), arg_max(side, "at")) AS side,
           coalesce(arg_min(epoch, "at") FILTER (bad), arg_max(epoch, "at")) AS epoch
    FROM marked GROUP BY trial
  )
"""

_LABELLED = 'EXISTS (SELECT 1 FROM labels l WHERE l.request = {of}.request AND l."at" <= {of}."at" + {maturity!r})'


def _scope(question: Question) -> tuple[object, ...]:
    alone = question.kind == "bake"
    return (question.rollout, question.until, question.candidate.number, alone, max(question.epoch, 1.0))


def _count(value: object) -> int:
    return int(str(value))


def _mixed(log: Log, question: Question) -> Missing | None:
    """Two versions in one arm of one rollout are two series, and no verdict is about both."""
    found = log.rows(
        question.model,
        f"WITH {_ARMS} SELECT side, count(DISTINCT version), min(version), max(version) FROM timed"  # noqa: S608 - constant
        " GROUP BY side HAVING count(DISTINCT version) > 1",
        _scope(question),
    )
    if not found:
        return None
    side, n, first, last = found[0]
    return Missing(Outcome.ERROR, f"{n} versions served as the {side} of one rollout ({first}, {last}): no one series")


def _served(log: Log, question: Question) -> tuple[int, str]:
    """Requests since the step began, and what one trial is."""
    recent, units = log.rows(
        question.model,
        f'WITH {_ARMS} SELECT count(*) FILTER ("at" > $6), count(unit) FROM timed',  # noqa: S608 - constant
        (*_scope(question), question.since),
    )[0]
    return _count(recent), "unit" if _count(units) and question.kind != "bake" else "request"


def event_counts(log: Log, question: Question) -> SplitCounts | Missing:
    """Bad events of both arms; a unit that sticks to one arm counts once.

    While the candidate serves alone there is no control to share a unit's luck with, so requests are counted.
    """
    if problem := _mixed(log, question):
        return problem
    labelled = question.gate.metric is Metric.MISSING_LABEL
    maturity = question.gate.maturity
    bad = "error IS NOT NULL"
    mature = "true"
    if labelled:
        bad = f"NOT {_LABELLED.format(of='timed', maturity=maturity)}"
        mature = f'"at" + {maturity!r} <= $2'
    counted = log.rows(
        question.model,
        f"""
        WITH {_ARMS}, marked AS (SELECT *, {bad} AS bad FROM timed WHERE {mature}), {_TRIALS}
        SELECT share, epoch, side, count(*) FILTER (bad), count(*) FILTER (NOT bad) FROM trials GROUP BY ALL
        """,  # noqa: S608 - constants and a number of ours
        _scope(question),
    )
    if not counted:
        return Missing(Outcome.NO_DATA, "no request has been served under this rollout yet")
    # While both serve the guess is frozen at the start; once the champion serves no more, all that it did counts.
    before = bad.replace("timed", "log") if labelled else bad
    known = question.until if question.kind == "bake" else question.opened
    asked, failed = log.rows(
        question.model,
        f"""
        SELECT count(*), count(*) FILTER ({before}) FROM (
          SELECT * FROM log WHERE version = $1 AND "at" <= $2 AND arm = 'champion' {_ONCE}
        ) AS log
        """,  # noqa: S608 - constants and a number of ours
        (question.champion.number, known - (maturity if labelled else 0.0)),
    )[0]
    history = _count(asked)
    recent, trial = _served(log, question)
    rate = _count(failed) / history if history else None
    return SplitCounts(_strata(counted), rate, trial, recent, history)


def _strata(found: list[tuple[object, ...]]) -> tuple[Stratum, ...]:
    """Fold (share, epoch, side, bad, good) rows into strata."""
    cells: dict[tuple[float, int], dict[str, tuple[int, int]]] = defaultdict(dict)
    for share, epoch, side, bad, good in found:
        cells[float(str(share)), _count(epoch)][str(side)] = (_count(bad), _count(good))
    zero = (0, 0)
    return tuple(
        Stratum(share, *arms.get("candidate", zero), *arms.get("champion", zero), epoch)
        for (share, epoch), arms in sorted(cells.items())
    )


def speed_counts(log: Log, question: Question) -> SpeedCounts | Missing:
    """Log-bucket histograms of a measurement, and the champion's own as it was when the rollout opened."""
    if problem := _mixed(log, question):
        return problem
    column = f'"{question.gate.column}"'
    bucket = f"CASE WHEN {column} > 0 THEN CAST(floor(ln({column}) / ln(1.02)) AS INTEGER) ELSE {LOWEST} END"
    found = log.rows(
        question.model,
        f"""
        WITH {_ARMS}
        SELECT share, epoch, side, {bucket} AS bucket, count(*) FROM timed WHERE {column} IS NOT NULL GROUP BY ALL
        """,  # noqa: S608 - constants and a name that the policy parser has checked
        _scope(question),
    )
    cells: dict[tuple[float, int], dict[str, dict[int, int]]] = defaultdict(lambda: defaultdict(dict))
    for share, epoch, side, number, n in found:
        cells[float(str(share)), _count(epoch)][str(side)][_count(number)] = _count(n)
    strata = tuple(
        SpeedStratum(share, _histogram(arms["candidate"]), _histogram(arms["champion"]), epoch)
        for (share, epoch), arms in sorted(cells.items())
    )
    baseline = log.rows(
        question.model,
        f"""
        SELECT {bucket} AS bucket, count(*) FROM (
          SELECT {column} FROM log WHERE version = $1 AND arm = 'champion' AND "at" <= $2 AND "at" > $3 {_ONCE}
        ) WHERE {column} IS NOT NULL GROUP BY ALL
        """,  # noqa: S608 - same
        (question.champion.number, question.opened, question.opened - HISTORY),
    )
    recent, _ = _served(log, question)
    unit = "ms" if question.gate.column.endswith("_ms") else question.gate.column
    return SpeedCounts(strata, _histogram({_count(number): _count(n) for number, n in baseline}), unit, recent)


def _histogram(found: dict[int, int]) -> Counts:
    return tuple(sorted(found.items()))


def value_counts(log: Log, question: Question) -> ValueCounts | Missing:
    """Levels of a bounded value that comes with the label; a unit's value is the mean over its requests.

    Values between two levels go up or down by a draw that the trial's name decides, so that the mean stays right and
    the same trial falls the same way wherever it is counted.
    """
    if problem := _mixed(log, question):
        return problem
    gate = question.gate
    path = f"json_extract(label, '$.\"{gate.column}\"')" if gate.column != "label" else "label"
    # A request's value is known when its label has matured; one without a label by then has brought nothing.
    value = f"""
      coalesce((SELECT arg_max(TRY_CAST({path} AS DOUBLE), l."at") FROM labels l
                WHERE l.request = {{of}}.request AND l."at" <= {{of}}."at" + {gate.maturity!r}), 0)
    """  # noqa: S608 - numbers of ours and a name that the policy parser has checked
    shared = f"least(greatest({{}} / {gate.cap!r}, 0), 1)"
    scope = _scope(question)
    draw = "md5_number_lower(trial) / 18446744073709551616.0"
    found = log.rows(
        question.model,
        f"""
        WITH {_ARMS}, valued AS (
          SELECT *, {shared.format(value.format(of="timed"))} AS value FROM timed WHERE "at" + {gate.maturity!r} <= $2
        ), trials AS (
          SELECT trial, arg_max(share, "at") AS share, arg_max(side, "at") AS side, arg_max(epoch, "at") AS epoch,
                 round(avg(value), 9) AS value
          FROM valued GROUP BY trial
        )
        SELECT share, epoch, side, CAST(least({LEVELS - 1}, floor(value * {LEVELS - 1} + {draw})) AS INTEGER), count(*)
        FROM trials GROUP BY ALL
        """,  # noqa: S608 - constants, numbers of ours and a name that the policy parser has checked
        scope,
    )
    if not found:
        return Missing(Outcome.NO_DATA, "no request of this rollout is old enough to have its value")
    cells: dict[tuple[float, int], dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0] * LEVELS))
    for share, epoch, side, level, n in found:
        cells[float(str(share)), _count(epoch)][str(side)][_count(level)] += _count(n)
    center = log.rows(
        question.model,
        f"""
        SELECT avg({shared.format(value.format(of="old"))}) FROM (
          SELECT * FROM log WHERE version = $1 AND arm = 'champion' AND "at" <= $2 {_ONCE}
        ) AS old
        """,  # noqa: S608 - same
        (question.champion.number, question.opened - gate.maturity),
    )[0][0]
    recent, trial = _served(log, question)
    strata = tuple(
        ValueStratum(share, tuple(arms["candidate"]), tuple(arms["champion"]), epoch)
        for (share, epoch), arms in sorted(cells.items())
    )
    return ValueCounts(strata, None if center is None else round(float(str(center)), 6), trial, recent)
