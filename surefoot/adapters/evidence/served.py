"""Who answered what in a rollout: the part that every count of served traffic begins with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from surefoot.core.domain import EvidenceKind, Outcome
from surefoot.core.gates.rate import EPOCHS
from surefoot.core.judging.evidence import Missing
from surefoot.core.judging.request import EvidenceRequest


class SqlLog(Protocol):
    """Something that answers SQL over the views `log` and `labels`.

    Attributes:
        repeated: Records that were left out at once, because their request is in an earlier one [count].
        live: Whether nothing in it can be later than the moment of a question.
    """

    repeated: int
    live: bool

    def rows(self, model: str, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """Run one query."""
        ...

    def slice_of(self, column: str) -> str:
        """SQL that reads one feature of a row of `log` as its canonical text; NULL where it is missing."""
        ...


# The rows of one request stand or fall together, and a caller may repeat its request: the first row tells it all.
ONCE = 'QUALIFY row_number() OVER (PARTITION BY request ORDER BY "at", "row") = 1'

# Both arms under every weight of this rollout; after promotion the candidate alone, as one stratum of share 1.
# An epoch counts from the first request of the rollout; whatever comes after the planned end is in the last one.
SERVED = 'rollout = $1 AND "at" <= $2 AND CASE WHEN $4 THEN weight = 0 AND version = $3 ELSE weight > 0 END'
# What every version refuses is evidence about none of them.
_SERVED = f"""
    SELECT CASE WHEN weight > 0 THEN weight / 100 ELSE 1 END AS share,
           CASE WHEN weight > 0 THEN arm ELSE 'candidate' END AS side, *
    FROM log WHERE {SERVED} AND request NOT IN (SELECT unnest($6::VARCHAR[]))
"""  # noqa: S608 - constant
ARMS = f"""
  arms AS ({_SERVED} {ONCE}), timed AS (
    SELECT *, CAST(least({EPOCHS - 1}, floor(("at" - min("at") OVER ()) / $5)) AS INTEGER) AS epoch,
           CASE WHEN $4 OR trim(coalesce(unit, '')) = '' THEN request ELSE unit END AS trial
    FROM arms
  )
"""  # noqa: S608 - the fragments are constants

LABELLED = 'EXISTS (SELECT 1 FROM labels l WHERE l.request = {of}.request AND l."at" <= {of}."at" + {maturity!r})'


@dataclass(frozen=True, slots=True)
class ServedTraffic:
    """What there is to count.

    Attributes:
        recent: Requests of both arms since the step began [count].
        trial: What one trial is, for people.
    """

    recent: int
    trial: str


def query_parameters(question: EvidenceRequest, refused: Sequence[str] = ()) -> tuple[object, ...]:
    """Parameters $1 to $6 of ARMS."""
    alone = question.kind == EvidenceKind.BAKE
    epoch = max(question.epoch, 1.0)
    return (question.rollout, question.until, question.candidate.number, alone, epoch, list(refused))


def as_count(value: object) -> int:
    """A count that a query gave."""
    return int(str(value))


def served_traffic(log: SqlLog, question: EvidenceRequest, refused: Sequence[str] = ()) -> ServedTraffic | Missing:
    """What this rollout has served so far.

    Two versions in one arm of one rollout are two series, and no verdict is about both: then it is an ERROR.
    """
    found = log.rows(
        question.model,
        f"""
        SELECT side, count(DISTINCT request) FILTER ("at" > $5), count(unit) FILTER (trim(unit) <> ''),
               min(version), max(version)
        FROM ({_SERVED}) GROUP BY side
        """,  # noqa: S608 - constant
        (*query_parameters(question)[:4], question.since, list(refused)),
    )
    for side, _, _, first, last in found:
        if first != last:
            reason = f"several versions served as the {side} of one rollout ({first}, {last}): no one series"
            return Missing(Outcome.ERROR, reason)
    units = sum(as_count(row[2]) for row in found)
    trial = "unit" if units and question.kind != EvidenceKind.BAKE else "request"
    return ServedTraffic(sum(as_count(row[1]) for row in found), trial)


def slice_columns(log: SqlLog, question: EvidenceRequest) -> list[tuple[str, str]]:
    """What to tell apart: (column, SQL of its value); one pair of nothing where all requests count together."""
    return [(column, log.slice_of(column)) for column in question.gate.by] or [("", "''")]
