"""Compute what a good version would have answered to the requests that a bad version answered."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from surefoot.adapters.feature_tables.compacted_features import encode_numbers_as_json
from surefoot.adapters.predictions.log_files import PREDICTION_FILES, WHOLE, quote_sql_string
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.replay.answer_columns import answer_values
from surefoot.adapters.replay.batch_scoring import declares_row_independence
from surefoot.adapters.replay.replay_window import ReplayWindow
from surefoot.adapters.replay.version_processes import ProcessScorer
from surefoot.adapters.replay.window_scoring import WindowScorer
from surefoot.adapters.served_answers.exposed_requests import (
    MEMORY_LIMIT,
    NO_GOOD_VERSION_REASON,
    NOT_ASKED_REASON,
    ExposureQuery,
)
from surefoot.column_encryption import ColumnDecryptor
from surefoot.core.domain import Version
from surefoot.core.errors import SurefootError

COULD_NOT_ANSWER_REASON = "the good version could not answer"
_GIVEN_UP = "the good version was given up: it failed too often"
_COULD_NOT_LOAD = "the good version could not be loaded"
_HIDDEN_COLUMN = "the log hashes or drops a column that the good version reads"
_INCOMPLETE = "other rows of its request are not in the log, and the good version does not answer each row by itself"
_ANSWER_SCHEMA = pa.schema([("ask", pa.string()), ("row", pa.int32()), ("good_answer", pa.string())])
"""Answers of good versions as JSON, by the name that a request has among the exposed ones."""
_PATIENCE = 10
"""So many times the share of failures that ends a replay ends the asking here."""


@dataclass(frozen=True, slots=True)
class CorrectedAnswers:
    """Files of the corrected answers, and of the reasons where there is none.

    Attributes:
        answers: Parquet files in the form of _ANSWER_SCHEMA.
        reasons: Parquet file of `n` and `why` for each row without an answer for a reason that was known beforehand.
        problems: What kept a version from answering, by its number.
    """

    answers: tuple[Path, ...]
    reasons: Path
    problems: Mapping[str, str]


LoadModel = Callable[[str, Version], ProcessScorer]
_KeptAnswers = Callable[[Version, float, float], Sequence[Path]]


@dataclass(frozen=True, slots=True)
class CorrectionSources:
    """The good versions that compute corrected answers, and how they are loaded.

    Attributes:
        versions: The good versions by number.
        load: Gives a version by model; None to ask no version.
        kept: Files of answers that a version gave to requests of a time before.
        strict: Whether a version that cannot be loaded is an error, and no reason of its rows.
        decryptor: Decrypts columns of the log, in memory.
    """

    versions: Mapping[str, Version]
    load: LoadModel | None
    kept: _KeptAnswers
    strict: bool = False
    decryptor: ColumnDecryptor | None = None


def compute_corrected_answers(
    exposed: Path, question: ExposureQuery, who: CorrectionSources, folder: Path
) -> CorrectedAnswers:
    """Score each exposed request with its good version; a row without a corrected answer gets a reason.

    Args:
        exposed: What `list_exposed_requests` has written.
        question: What was listed.
        who: Who is asked.
        folder: Where the answers go.

    Raises:
        EvidenceUnavailable: There is no room for the answers.
        SurefootError: A version could not be had, where that is an error.
    """
    problems: dict[str, str] = {}
    answers = []
    with _database(folder) as db:
        rows = f"read_parquet({quote_sql_string(str(exposed))})"
        db.execute("CREATE TABLE reasons (n BIGINT, why VARCHAR)")
        if who.load is None:
            db.execute(f"INSERT INTO reasons SELECT n, '{NOT_ASKED_REASON}' FROM {rows}")  # noqa: S608 - constants and our own file
        else:
            _give_plain_reasons(db, rows)
            for number, version in who.versions.items():
                try:
                    made = _ask_version(db, rows, question, version, who, who.load, folder)
                except SurefootError as error:
                    if who.strict:
                        raise
                    problems[number] = str(error)
                    _give_reason(db, rows, number, _COULD_NOT_LOAD)
                    continue
                answers += [made] if made else []
        reasons = folder / "reasons.parquet"
        each = "SELECT n, min(why) AS why FROM reasons GROUP BY n"
        db.execute(f"COPY ({each}) TO {quote_sql_string(str(reasons))} (FORMAT parquet)")
    return CorrectedAnswers(tuple(answers), reasons, problems)


@contextlib.contextmanager
def _database(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an empty database that spills into a folder."""
    with duckdb.connect() as db:
        spill = quote_sql_string(str(folder / "spill"))
        db.execute(f"SET threads = 1; SET memory_limit = '{MEMORY_LIMIT}'; SET temp_directory = {spill}")
        yield db


def _give_plain_reasons(db: duckdb.DuckDBPyConnection, rows: str) -> None:
    """Reasons that need no model: no good version, or no features in the log."""
    db.execute(
        f"""
        INSERT INTO reasons SELECT n, CASE
            WHEN good_version IS NULL THEN '{NO_GOOD_VERSION_REASON}'
            ELSE 'features left out: ' || coalesce(json_extract_string(left_out, '$.features'), 'unknown why')
          END
        FROM {rows} WHERE good_version IS NULL OR features IS NULL OR features = 'null'
        """  # noqa: S608 - constants and our own file
    )


def _give_reason(db: duckdb.DuckDBPyConnection, rows: str, number: str, why: str, which: str = "true") -> None:
    """Give one reason to the rows of a good version that have none yet."""
    db.execute(
        f"INSERT INTO reasons SELECT n, $1 FROM {rows} r WHERE good_version = $2 AND ({which})"  # noqa: S608 - our own file
        " AND NOT EXISTS (SELECT 1 FROM reasons k WHERE k.n = r.n)",
        [why, number],
    )


def _ask_version(
    db: duckdb.DuckDBPyConnection,
    rows: str,
    question: ExposureQuery,
    version: Version,
    who: CorrectionSources,
    load: LoadModel,
    folder: Path,
) -> Path | None:
    """Ask one version about its rows; the file of its answers, or None when there is nothing to ask."""
    number = version.number
    left = "good_version = $1 AND NOT EXISTS (SELECT 1 FROM reasons k WHERE k.n = r.n)"
    if not db.execute(f"SELECT count(*) FROM {rows} r WHERE {left}", [number]).fetchall()[0][0]:  # noqa: S608 - our own file
        return None
    model = load(question.model, version)
    try:
        if hidden := _hidden_sql(question, _read_columns(model)):
            _give_reason(db, rows, number, _HIDDEN_COLUMN, hidden)
        if declares_row_independence(model) is False:
            _give_reason(db, rows, number, _INCOMPLETE, _incomplete_sql(rows))
        scratch = folder / f"asked-{number}"
        _write_log(db, rows, left, number, scratch / question.model)
        made = folder / f"answers-{number}.parquet"
        if _score(scratch, question.model, version, model, who, made):
            given = f'SELECT ask, "row" FROM read_parquet({quote_sql_string(str(made))}) WHERE good_answer IS NOT NULL'  # noqa: S608 - our own file
            _give_reason(db, rows, number, _GIVEN_UP, f'(ask, "row") NOT IN ({given})')
        return made
    finally:
        model.close()


def _read_columns(model: ProcessScorer) -> frozenset[str] | None:
    """Columns that a model says it reads; None where it does not say."""
    inputs = model.signature_fields().get("inputs")
    return frozenset(map(str, inputs)) if isinstance(inputs, dict) and inputs else None


def _hidden_sql(question: ExposureQuery, reads: frozenset[str] | None) -> str:
    """SQL of the rows in which the log hides something that a model reads; empty where it hides nothing of that."""
    found = []
    for column in sorted(question.dropped | question.hashed):
        if reads is not None and column not in reads:
            continue
        key = column.replace("\\", "\\\\").replace('"', '\\"').replace("'", "''")
        if column in question.dropped:  # a caller may have left it out as well: that cannot be told apart
            found.append(f"json_extract(features, '$.\"{key}\"') IS NULL")
        if column in question.hashed:
            found.append(f"regexp_full_match(json_extract_string(features, '$.\"{key}\"'), '[0-9a-f]{{24}}')")
    return " OR ".join(found)


def _incomplete_sql(rows: str) -> str:
    """SQL of the rows of requests of which a row, or the features of one, are not in the log."""
    return f"""ask IN (SELECT ask FROM {rows} GROUP BY ask
        HAVING count(features) < count(*) OR count(*) < max("row") + 1)"""  # noqa: S608 - our own file


def _write_log(db: duckdb.DuckDBPyConnection, rows: str, left: str, number: str, folder: Path) -> None:
    """Write the rows that are to be asked as a log of their own."""
    folder.mkdir(parents=True)
    columns = {
        "v": "1",
        "request": "ask",
        "row": '"row"',
        "at": '"at"',
        "arm": "'champion'",
        "version": "version",
        "answered_by": "version",
        "generation": "generation",
        "prediction": "answer",
        "features": "features",
        "params": "params",
    }
    select = ", ".join(
        f'CAST({columns.get(name, "NULL")} AS {kind}) AS "{name}"' for name, kind in PREDICTION_FILES.columns.items()
    )
    made = quote_sql_string(str(folder / f"predictions-exposed{WHOLE}"))
    db.execute(
        f"COPY (SELECT {select} FROM {rows} r WHERE {left} ORDER BY n) TO {made} (FORMAT parquet, COMPRESSION zstd)",  # noqa: S608 - our own file
        [number],
    )


def _score(root: Path, model: str, version: Version, scorer: ProcessScorer, who: CorrectionSources, made: Path) -> bool:
    """Score a log batch by batch, and write the answers; whether the version was given up before the end."""
    window = ReplayWindow(PredictionLog(root), model, float("-inf"), float("inf"), decryptor=who.decryptor)
    try:
        times = [at for _, at, _ in window.request_times() if len(at)]
        before = who.kept(version, float(times[0].min()), float(times[-1].max())) if times else ()
        scoring = WindowScorer(window, scorer, version, before)
        # A verdict rests on the rate of failures; here each answer is wanted, so a version may fail much more often.
        scoring.tally.total *= _PATIENCE
        for batch in window.batches():
            scoring.prepare_batch(batch)
            scoring.score_batch(batch)
        scoring.check_answers()
        with pyarrow.parquet.ParquetWriter(made, _ANSWER_SCHEMA, compression="zstd") as writer:
            for batch, column in zip(window.batches(), scoring.answer_columns(), strict=True):
                keys = batch.table.select(["request", "row"]).rename_columns(["ask", "row"])
                writer.write_table(keys.append_column("good_answer", _answer_texts(column)).cast(_ANSWER_SCHEMA))
    finally:
        window.close()
    return scoring.tally.abandoned


def _answer_texts(column: pa.Array) -> pa.Array:
    """Give each answer as JSON text, null where there is none."""
    if pa.types.is_floating(column.type):
        return encode_numbers_as_json(column)
    if pa.types.is_boolean(column.type) or pa.types.is_integer(column.type):
        return column.cast(pa.string())
    if pa.types.is_fixed_size_list(column.type) and pa.types.is_floating(column.type.value_type):
        cells = [encode_numbers_as_json(pc.list_element(column, place)) for place in range(column.type.list_size)]
        return pc.binary_join_element_wise("[", pc.binary_join_element_wise(*cells, ","), "]", "")
    return pa.array([None if a is None else orjson.dumps(a).decode() for a in answer_values(column)], type=pa.string())
