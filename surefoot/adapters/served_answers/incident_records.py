"""Write an incident's requests, answers and labels to files for back-tests."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from surefoot.adapters.predictions.prediction_log import LoggedRequest, PredictionLog, parse_logged_json
from surefoot.adapters.predictions.recorded.column_types import OPTIONAL_COLUMNS, REQUIRED_COLUMNS
from surefoot.adapters.replay.batch_scoring import RequestKey, ScoringCounts, declares_row_independence, score_rows
from surefoot.adapters.replay.version_processes import ProcessScorer, VersionProcesses
from surefoot.core.canonical_text import canonical_text
from surefoot.core.domain import Arm, Version
from surefoot.core.errors import EvidenceUnavailable, NotFound, Rejected

_MAX_CASE_ROWS = 100_000
"""Most request rows of a case [count]; of more a share of the units is taken."""
_PATIENCE = 1000
"""A version that fails many requests is asked all of them nevertheless: each answer is wanted [factor]."""
_NO_ANSWER = "the version gives no answer when it is asked again"
_MEASURED = ("latency_ms", "cpu_ms", "rss_mb")
"""What was measured of the version that a request was assigned to."""


@dataclass(frozen=True, slots=True)
class RecordedRow:
    """One request row of the log.

    Attributes:
        request: What the caller asked and got.
        unit: The unit that sticks to one version; empty where there is none.
        version: Number of the version that it was assigned to.
        error: How that version failed; empty where it did not.
        measured: Latency [ms], processor time [ms] and memory [MB] of that version; None where not measured.
    """

    request: LoggedRequest
    unit: str
    version: str
    error: str
    measured: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class RecordedCount:
    """Counts of the written records.

    Attributes:
        rows: Request rows, each with the answers of both versions [count].
        labels: Labels [count].
        one_of: One of so many units is recorded [count].
        asked: Answers that callers never got and that were computed for the record [count].
        left_out: Features that are not recorded, since the format has columns of the same names.
    """

    rows: int
    labels: int
    one_of: int
    asked: int
    left_out: tuple[str, ...]


def write_incident_records(
    log: PredictionLog,
    versions: VersionProcesses,
    model: str,
    pair: tuple[Version, Version],
    period: tuple[float, float],
    files: tuple[Path, Path],
    hidden: frozenset[str] = frozenset(),
) -> RecordedCount:
    """Write what both versions answer to the requests of a period, and the labels.

    What a version has answered to a caller, or failed, is taken from the log; all else it is asked now.

    Args:
        log: The prediction log.
        versions: Start both versions in processes of their own.
        model: Registered model.
        pair: The good version and the bad one.
        period: Beginning and end [Unix seconds].
        files: The files of records and of labels.
        hidden: Columns that the log hashes or drops.

    Raises:
        Rejected: A version that has to be asked reads a column that the log hides.
        NotFound: The log has no such request any more.
        EvidenceUnavailable: The log cannot be read, or a file cannot be written.
        SurefootError: A version could not be had.
    """
    rows, one_of = _read_rows(log, model, *period)
    if not rows:
        raise NotFound(f"the prediction log of {model} has no request of the incident any more")
    features = _columns([row.request.columns() for row in rows])
    taken = {*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS}
    kept = {name: column for name, column in features.items() if name not in taken}
    with ThreadPoolExecutor(len(pair)) as pool:  # each version computes in a process of its own
        found = list(pool.map(lambda version: _answers(versions, model, version, rows, hidden), pair))
    asked = sum(count for _, _, count in found)
    sides = [
        _side(arm, version, rows, answers, errors) | kept
        for arm, version, (answers, errors, _) in zip((Arm.CHAMPION, Arm.CANDIDATE), pair, found, strict=True)
    ]
    table = pa.concat_tables([pa.table(side) for side in sides], promote_options="permissive")
    content = (_without_null_types(table), _without_null_types(_label_table(rows)))
    try:
        for file, one in zip(files, content, strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(one, file, compression="zstd")
    except OSError as error:
        raise EvidenceUnavailable(f"the case {files[0].parent} cannot be written: {error}") from error
    left_out = tuple(sorted(features.keys() - kept.keys()))
    return RecordedCount(len(rows), content[1].num_rows, one_of, asked, left_out)


def _read_rows(log: PredictionLog, model: str, since: float, until: float) -> tuple[list[RecordedRow], int]:
    """Request rows of a period, oldest first; of more than may be recorded those of a share of the units."""
    which = """"at" > $1 AND "at" <= $2 AND NOT (error IS NOT NULL AND answered_by IS NULL) AND features IS NOT NULL"""
    ((count,),) = log.query_rows(model, f"SELECT count(*) FROM log WHERE {which}", (since, until))  # noqa: S608 - constant
    one_of = -(-int(str(count)) // _MAX_CASE_ROWS) or 1
    found = log.query_rows(
        model,
        f"""
        WITH reported AS (
          SELECT request, "row", list({{'at': "at", 'label': label}} ORDER BY "at", received NULLS FIRST) AS labels
          FROM labels GROUP BY ALL
        ), once AS (
          SELECT * FROM log WHERE {which} AND hash(coalesce(unit, request)) % $3 = 0
          QUALIFY row_number() OVER (PARTITION BY request, "row" ORDER BY "at") = 1
        )
        SELECT o.request, o."row", o."at", o.answered_by, o.arm, o.prediction, o.features, r.labels, o.params,
               o.unit, o.version, o.error, o.latency_ms, o.cpu_ms, o.rss_mb
        FROM once o LEFT JOIN reported r ON o.request = r.request AND o."row" = r."row"
        ORDER BY o."at", o.request, o."row"
        """,  # noqa: S608 - constant
        (since, until, one_of),
    )
    return [row for one in found if (row := _row(one)) is not None], one_of


def _row(found: Sequence[object]) -> RecordedRow | None:
    """A row of the query; None where its features are not kept."""
    request, row, at, answered_by, arm, prediction, features, labels, params, unit, version, error, *measured = found
    asked = parse_logged_json(features)
    if asked is None:
        return None
    reported = tuple((float(item["at"]), parse_logged_json(item["label"])) for item in labels or ())  # type: ignore[attr-defined] # a list
    named, bare = (asked, None) if isinstance(asked, dict) else ({}, [asked])
    key = (str(request), int(str(row)))
    answer = (str(answered_by), str(arm), parse_logged_json(prediction))
    return RecordedRow(
        LoggedRequest(key, float(str(at)), *answer, named, reported, parse_logged_json(params), bare),
        "" if unit is None else str(unit),
        str(version),
        "" if error is None else str(error),
        tuple(None if one is None else float(str(one)) for one in measured),
    )


def _answers(
    versions: VersionProcesses, model: str, version: Version, rows: Sequence[RecordedRow], hidden: frozenset[str]
) -> tuple[dict[RequestKey, object], dict[RequestKey, str], int]:
    """Answers and errors of a version, and how many of them were asked for now [count]."""
    number = version.number
    errors = {row.request.key: row.error for row in rows if row.version == number and row.error}
    answers = {
        row.request.key: row.request.prediction
        for row in rows
        if row.request.answered_by == number and row.request.prediction is not None and row.request.key not in errors
    }
    left = [row.request for row in rows if row.request.key not in answers and row.request.key not in errors]
    if not left:
        return answers, errors, 0
    scorer = versions.start_scorer(model, version)
    try:
        if hidden and (seen := _read_columns(scorer, rows) & hidden):
            raise Rejected(
                f"version {number} reads {min(seen)}, which the log hides (log: in the policy): what it would have"
                " answered to requests of other versions cannot be computed"
            )
        left.sort(key=_missing)  # rows that fail for what they lack are asked together, so that the others never fail
        tally = ScoringCounts(len(left) * _PATIENCE)
        made = score_rows(scorer, left, tally, together=declares_row_independence(scorer) is not False)
    finally:
        scorer.close()
    said = f"{_NO_ANSWER}: {tally.problem}" if tally.problem else _NO_ANSWER
    errors |= {one.key: said for one in left if one.key not in made}
    return answers | made, errors, len(left)


def _missing(request: LoggedRequest) -> tuple[str, ...]:
    """Columns of a row that have no value."""
    return tuple(sorted(name for name, value in request.features.items() if value is None))


def _read_columns(scorer: ProcessScorer, rows: Sequence[RecordedRow]) -> frozenset[str]:
    """Columns that a version says it reads; all that there are where it does not say."""
    inputs = scorer.signature_fields().get("inputs")
    if isinstance(inputs, dict) and inputs:
        return frozenset(map(str, inputs))
    return frozenset(name for row in rows for name in row.request.features)


def _side(
    arm: Arm,
    version: Version,
    rows: Sequence[RecordedRow],
    answers: Mapping[RequestKey, object],
    errors: Mapping[RequestKey, str],
) -> dict[str, pa.Array]:
    """The columns of one version's records, features apart."""
    keys = [row.request.key for row in rows]
    own = [row.measured if row.version == version.number else (None,) * len(_MEASURED) for row in rows]
    return {
        "request": pa.array([request for request, _ in keys], type=pa.string()),
        "row": pa.array([row for _, row in keys], type=pa.int32()),
        "at": pa.array([row.request.at for row in rows], type=pa.float64()),
        "unit": pa.array([row.unit or None for row in rows], type=pa.string()),
        "arm": pa.array([arm.value] * len(rows), type=pa.string()),
        "version": pa.array([version.number] * len(rows), type=pa.string()),
        "prediction": _column([answers.get(key) for key in keys]),
        "error": pa.array([errors.get(key) for key in keys], type=pa.string()),
        **{name: pa.array([one[n] for one in own], type=pa.float64()) for n, name in enumerate(_MEASURED)},
    }


def _label_table(rows: Sequence[RecordedRow]) -> pa.Table:
    """Every label with the time at which it was reported."""
    told = [(row.request.key, at, value) for row in rows for at, value in row.request.labels]
    return pa.table(
        {
            "request": pa.array([key[0] for key, _, _ in told], type=pa.string()),
            "row": pa.array([key[1] for key, _, _ in told], type=pa.int32()),
            "label": _column([value for _, _, value in told]),
            "at": pa.array([at for _, at, _ in told], type=pa.float64()),
        }
    )


def _without_null_types(table: pa.Table) -> pa.Table:
    """The table with a type for each column: one without any value is one of numbers."""
    for place, field in enumerate(table.schema):
        if pa.types.is_null(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(pa.float64()))
    return table


def _columns(rows: Sequence[Mapping[str, object]]) -> dict[str, pa.Array]:
    """Features by name."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _column([row.get(name) for row in rows]) for name in names}


def _column(values: Sequence[object]) -> pa.Array:
    """JSON values in one type; as texts where they have several types."""
    try:
        made = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        made = pa.array([None if value is None else canonical_text(value) for value in values], type=pa.string())
    return made
