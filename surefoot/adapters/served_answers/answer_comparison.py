"""Write a table that compares a bad version's answers with a good version's."""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from surefoot.adapters.predictions.log_files import quote_sql_string, sql_path_list
from surefoot.adapters.predictions.recorded.column_sql import quote_column
from surefoot.adapters.served_answers.corrected_answers import COULD_NOT_ANSWER_REASON, CorrectedAnswers
from surefoot.adapters.served_answers.exposed_requests import GROUP_COLUMN_PREFIX, MEMORY_LIMIT
from surefoot.core.errors import EvidenceUnavailable

_SAME_WITHIN = 1e-6
"""Numbers that differ by no more than this share of the larger one are the same answer: batches change last digits."""
_ROW_GROUP_ROWS = 65_536
_MAX_GROUPS = 50
"""Groups of one column that are counted by name [count]; the others together."""
_UNKNOWN_GROUP = "(unknown)"
_OTHER_GROUPS = "(other)"
_NUMBERS = "TRY_CAST({} AS DOUBLE[])"
_CHANGED_SQL = f"""
    CASE WHEN answer IS NULL OR good_answer IS NULL THEN NULL
         WHEN answer = good_answer THEN false
         WHEN TRY_CAST(answer AS DOUBLE) IS NOT NULL AND TRY_CAST(good_answer AS DOUBLE) IS NOT NULL
           THEN differ(TRY_CAST(answer AS DOUBLE), TRY_CAST(good_answer AS DOUBLE))
         WHEN len({_NUMBERS.format("answer")}) = len({_NUMBERS.format("good_answer")})
           THEN list_bool_or(list_transform(list_zip({_NUMBERS.format("answer")}, {_NUMBERS.format("good_answer")}),
                                            lambda pair: differ(pair[1], pair[2])))
         ELSE true END
"""


@dataclass(frozen=True, slots=True)
class AnswerComparison:
    """Summary of a written table that compares a bad version's answers with a good version's.

    Attributes:
        file: Where it is.
        digest: SHA-256 of its bytes, "sha256:" and 64 hex digits.
        rows: Its rows [count].
        units: Different units [count]; None where no row has one.
        changed: Rows whose good answer differs [count]; None where no row has a good answer.
        known: Rows with a good answer [count].
        repeated: Rows whose request id an earlier request had [count].
        phases: Rows by what the version served as.
        unknown: Rows without a good answer, by the reason.
        groups: Rows by group, `column=value`.
    """

    file: Path
    digest: str
    rows: int
    units: int | None
    changed: int | None
    known: int
    repeated: int
    phases: Mapping[str, int]
    unknown: Mapping[str, int]
    groups: Mapping[str, int]


def write_answer_comparison(
    exposed: Path, good: CorrectedAnswers, groups: Sequence[str], made: Path, *, names: Mapping[str, str] | None = None
) -> AnswerComparison:
    """Join exposed requests with corrected answers, and write the table; equal rows make equal bytes.

    Args:
        exposed: What `list_exposed_requests` has written.
        good: What good versions said.
        groups: Columns that the policy makes slices of.
        made: Where the table goes; what is there is replaced when all is written.
        names: Columns of the table by their names here; all of the exposed requests, named as here, without it.

    Raises:
        EvidenceUnavailable: The disk is full, or refuses something else.
    """
    columns = dict(names) if names else {one: one for one in _exposure_columns(groups)}
    select = ", ".join(f"{quote_column(own)} AS {quote_column(name)}" for name, own in columns.items())
    try:
        made.parent.mkdir(parents=True, exist_ok=True)
        fresh = made.with_name(f".{secrets.token_hex(8)}.tmp")
        with duckdb.connect() as db, contextlib.ExitStack() as undo:
            undo.callback(fresh.unlink, missing_ok=True)
            spill = quote_sql_string(str(exposed.parent / "spill"))
            db.execute(f"SET threads = 1; SET memory_limit = '{MEMORY_LIMIT}'; SET temp_directory = {spill}")
            db.execute(
                "CREATE MACRO differ(a, b) AS CASE WHEN a IS NULL OR b IS NULL THEN (a IS NULL) <> (b IS NULL)"
                f" ELSE abs(a - b) > {_SAME_WITHIN} * greatest(abs(a), abs(b)) END"
            )
            db.execute(f"CREATE TABLE joined AS {_joined_sql(exposed, good)}")
            db.execute(
                f"COPY (SELECT {select} FROM joined ORDER BY n) TO {quote_sql_string(str(fresh))}"  # noqa: S608 - names are quoted
                f" (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_ROW_GROUP_ROWS})"
            )
            found = _counted(db, groups, made, _settled_digest(fresh))
            fresh.chmod(0o640)  # as the log: what a version answered is as private as what it was asked
            fresh.replace(made)
    except (OSError, duckdb.Error) as error:
        raise EvidenceUnavailable(f"the table {made.name} cannot be written: {error}") from error
    return found


def _exposure_columns(groups: Sequence[str]) -> tuple[str, ...]:
    """Columns of a table of exposed requests, in their order."""
    plain = ("request", "row", "occurrence", "at", "unit", "phase", "rollout", "weight", "generation", "version")
    return (
        *plain,
        "answer",
        "left_out",
        "good_version",
        "good_answer",
        "changed",
        "unknown",
        *(GROUP_COLUMN_PREFIX + c for c in groups),
    )


def _joined_sql(exposed: Path, good: CorrectedAnswers) -> str:
    """SQL of the exposed requests with the answers of good versions, or why there is none."""
    empty = 'SELECT NULL::VARCHAR AS ask, NULL::INTEGER AS "row", NULL::VARCHAR AS good_answer WHERE false'
    answers = f"SELECT * FROM read_parquet({sql_path_list(good.answers)})" if good.answers else empty  # noqa: S608 - our own files
    return f"""
        SELECT *, {_CHANGED_SQL} AS changed FROM (
          SELECT e.* EXCLUDE (features, params), a.good_answer,
                 CASE WHEN a.good_answer IS NULL THEN coalesce(k.why, '{COULD_NOT_ANSWER_REASON}') END AS unknown
          FROM read_parquet({quote_sql_string(str(exposed))}) e
          LEFT JOIN ({answers}) a ON e.ask = a.ask AND e."row" = a."row"
          LEFT JOIN read_parquet({quote_sql_string(str(good.reasons))}) k ON e.n = k.n
        )
    """  # noqa: S608 - constants and our own files


def _settled_digest(file: Path) -> str:
    """Digest of a file whose bytes are on the disk."""
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def _counted(db: duckdb.DuckDBPyConnection, groups: Sequence[str], made: Path, digest: str) -> AnswerComparison:
    """Count the rows of the table that is being written."""
    ((rows, units, known, changed, repeated),) = db.execute(
        "SELECT count(*), count(DISTINCT unit), count(good_answer), count(*) FILTER (changed),"
        " count(*) FILTER (occurrence > 0 OR twin > 0) FROM joined"
    ).fetchall()
    by_group: dict[str, int] = {}
    for column in groups:
        by_group |= _group_counts(db, column)
    return AnswerComparison(
        made,
        digest,
        rows,
        units or None,
        changed if known else None,
        known,
        repeated,
        _counts(db, "phase", "true"),
        _counts(db, "unknown", "unknown IS NOT NULL"),
        by_group,
    )


def _counts(db: duckdb.DuckDBPyConnection, column: str, which: str) -> dict[str, int]:
    sql = f"SELECT {column}, count(*) FROM joined WHERE {which} GROUP BY 1 ORDER BY 2 DESC, 1"  # noqa: S608 - our own names
    return {str(value): int(count) for value, count in db.execute(sql).fetchall()}


def _group_counts(db: duckdb.DuckDBPyConnection, column: str) -> dict[str, int]:
    """Rows by value of one column; rare values are counted together."""
    name = quote_column(GROUP_COLUMN_PREFIX + column)
    sql = f"SELECT coalesce({name}, '{_UNKNOWN_GROUP}'), count(*) FROM joined GROUP BY 1 ORDER BY 2 DESC, 1"  # noqa: S608 - quoted
    found = db.execute(sql).fetchall()
    made = {f"{column}={value}": int(count) for value, count in found[:_MAX_GROUPS]}
    if rest := sum(int(count) for _, count in found[_MAX_GROUPS:]):
        made[f"{column}={_OTHER_GROUPS}"] = rest
    return made
