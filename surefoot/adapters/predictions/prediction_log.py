"""Query a model's logged predictions, labels and shadow answers with DuckDB."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import duckdb
import orjson

from surefoot.adapters.predictions.log_files import FILE_KINDS, FileKind, list_current_log_files, log_view_sql
from surefoot.adapters.predictions.mirrored_pairs import MIRRORED_PAIRS_SQL, MirroredPair
from surefoot.adapters.predictions.validation_table import answers_to_frame, infer_column_types
from surefoot.column_encryption import build_column_decryptor
from surefoot.core.canonical_text import canonical_text_of_json
from surefoot.core.errors import EvidenceUnavailable
from surefoot.core.naming.model_names import model_file_name

if TYPE_CHECKING:
    import pandas as pd

_Found = TypeVar("_Found")
_MAX_QUERY_TRIES = 10
"""How often a question is asked when files go away under it; a compaction removes files once a run [count]."""


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One logged request row.

    Attributes:
        key: (request id, row).
        at: When it was received [Unix seconds].
        answered_by: Version that answered the caller.
        arm: Arm that it was assigned to.
        prediction: The answer, JSON value.
        features: The row of the request.
        labels: What was reported to have come true, and when [Unix seconds], oldest first.
        params: What the caller gave as params of the request; None without any.
        bare: The row in a list of its own where the caller sent it without names, with no features then; else None.
    """

    key: tuple[str, int]
    at: float
    answered_by: str
    arm: str
    prediction: object
    features: dict[str, object]
    labels: tuple[tuple[float, object], ...] = ()
    params: object = None
    bare: list[object] | None = None

    def columns(self) -> dict[str, object]:
        """The row by column; where it came without names, by position."""
        if self.bare is None:
            return self.features
        (row,) = self.bare
        return {str(place): value for place, value in enumerate(row if isinstance(row, list) else [row])}

    def label(self, maturity: float) -> object:
        """What came true as far as it counts: the last report before maturity; None without one.

        Args:
            maturity: Age at which a label counts [seconds]; 0 takes whatever is known.
        """
        counted = [value for at, value in self.labels if not maturity or at <= self.at + maturity]
        return counted[-1] if counted else None


class PredictionLog:
    """Read access to everything that a gateway has logged below one folder.

    Attributes:
        root: Folder of the logs.
        repeated: Nothing is left out at once.
        sampled: Every row is there.
        live: Nothing in it can be later than now.
    """

    repeated = sampled = 0
    live = True

    def __init__(self, root: Path) -> None:
        """Remember where the segments are; nothing is opened before the first question."""
        self.root = root

    def query_rows(self, model: str, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Run one query over `log` and `labels` of a model.

        Args:
            model: Registered model.
            sql: A SELECT over the views log and labels; $1, $2, ... are the parameters.
            parameters: Values of the parameters.

        Raises:
            EvidenceUnavailable: The log cannot be read.
        """
        return self.with_connection(model, lambda db: db.execute(sql, list(parameters)).fetchall())

    def with_connection(self, model: str, run: Callable[[duckdb.DuckDBPyConnection], _Found]) -> _Found:
        """Run something on a connection that has the views `log`, `labels` and `shadows` of a model.

        Args:
            model: Registered model.
            run: What to run; again, where files went away under it.

        Raises:
            EvidenceUnavailable: The log cannot be read.
        """
        left = _MAX_QUERY_TRIES
        while True:
            left -= 1
            files: list[Path] = []
            try:
                with duckdb.connect() as db:
                    db.execute("SET threads = 1")
                    register_sql_functions(db)
                    for kind in FILE_KINDS:
                        segments, tables = self.current_files(model, kind)
                        files += [*segments, *tables]
                        db.execute(log_view_sql(segments, tables, kind))
                    return run(db)
            except (duckdb.Error, OSError) as error:
                # A compaction removes what it has replaced, which may have been listed and not been opened yet.
                if not left or all(file.exists() for file in files):
                    raise EvidenceUnavailable(f"the prediction log of {model} cannot be read: {error}") from error

    def current_files(self, model: str, kind: FileKind) -> tuple[list[Path], list[Path]]:
        """Segments and tables that hold every record of one kind once.

        Raises:
            OSError: The folder cannot be read.
        """
        return list_current_log_files(self.root / model_file_name(model), kind)

    def slice_sql(self, column: str) -> str:
        """SQL that reads one feature of a row of `log` as its canonical text; NULL where it is missing."""
        return f"canonical_text({_feature_sql(column)})"

    def read_requests(self, model: str, since: float, until: float, *, limit: int = 200_000) -> list[LoggedRequest]:
        """Requests of a window with the labels known at its end, oldest first.

        Labels of unknown requests match nothing. A window that holds more than `limit` rows is sampled by request id,
        evenly over its time. Rows whose features are not kept, and requests that no version could answer, are left out;
        so are encrypted columns, which only replays read.
        """
        decryptor = build_column_decryptor(self.root, model)
        found = self.query_rows(model, _requests_sql("", 'hash(o.request), o."row"', 3), (since, until, limit))
        made = sorted(map(_logged, _with_features(found)), key=lambda served: (served.at, served.key))
        return made if decryptor is None else [_without(one, decryptor.columns) for one in made]

    def read_group(
        self,
        model: str,
        since: float,
        until: float,
        column: str,
        texts: Sequence[str],
        limit: int,
        known: float,
    ) -> list[LoggedRequest]:
        """Requests of a window with one value in a column, and their labels, newest first.

        Args:
            model: Registered model.
            since: Beginning, not included [Unix seconds].
            until: End [Unix seconds].
            column: The column.
            texts: JSON texts that the value is written as.
            limit: Most rows [count].
            known: Labels that were reported until then count [Unix seconds].
        """
        condition = f"AND list_contains($3, {_feature_sql(column)})"
        sql = _requests_sql(condition, 'o."at" DESC, o.request DESC, o."row" DESC', 4, known=5)
        return [*map(_logged, _with_features(self.query_rows(model, sql, (since, until, list(texts), limit, known))))]

    def count_feature_values(self, model: str, column: str, since: float, until: float) -> list[tuple[str, int]]:
        """JSON texts of a column in the requests of a window, each with its rows; missing values are left out."""
        sql = f"""
            SELECT {_feature_sql(column)} AS value, count(DISTINCT (request, "row")) FROM log
            WHERE "at" > $1 AND "at" <= $2 AND NOT (error IS NOT NULL AND answered_by IS NULL)
            GROUP BY value HAVING value IS NOT NULL ORDER BY value
            """  # noqa: S608 - quoted
        return [(str(text), int(str(count))) for text, count in self.query_rows(model, sql, (since, until))]

    def mirrored_requests(
        self, model: str, rollout: str, candidate: str, until: float, limit: int
    ) -> list[MirroredPair]:
        """Mirrored requests of a rollout that both versions were asked, with the labels known by then, oldest first.

        Args:
            model: Registered model.
            rollout: Id of the rollout.
            candidate: Number of the version that was mirrored to.
            until: End [Unix seconds].
            limit: More rows than that are sampled by request id [count].
        """
        made = []
        for request, row, at, champion, shadow, features, labels in self.query_rows(
            model, MIRRORED_PAIRS_SQL, (rollout, candidate, until, limit)
        ):
            asked = parse_logged_json(features)
            reported = tuple((float(item["at"]), parse_logged_json(item["label"])) for item in labels or ())  # type: ignore[attr-defined]
            key = (str(request), int(str(row)))
            kept = asked if isinstance(asked, dict) else {}
            made.append(
                MirroredPair(
                    key, float(str(at)), parse_logged_json(champion), parse_logged_json(shadow), kept, reported
                )
            )
        return sorted(made, key=lambda pair: (pair.at, pair.key))

    def failed_requests(
        self, model: str, until: float, rollout: str, champion: str
    ) -> list[tuple[str, str, object, object]]:
        """Requests that no version could answer, in a rollout or in the champion's own past.

        Returns:
            One row a request, in an order that its id decides: (request, version that refused, features, params).
        """
        found = self.query_rows(
            model,
            """
            SELECT request, version, features, params FROM log
            WHERE error IS NOT NULL AND answered_by IS NULL AND "at" <= $1
              AND (rollout = $2 OR (version = $3 AND arm = 'champion'))
            QUALIFY row_number() OVER (PARTITION BY request ORDER BY "at", "row") = 1 ORDER BY hash(request)
            """,
            (until, rollout, champion),
        )
        return [
            (str(r), str(v), parse_logged_json(features), parse_logged_json(params)) for r, v, features, params in found
        ]

    def read_features(self, model: str, since: float, until: float) -> "pd.DataFrame":
        """Features of the requests of a window by request id; rows without names have their columns by position."""
        import pandas as pd  # noqa: PLC0415 - costs a command half a second

        rows = self.read_requests(model, since, until)
        ids = pd.Index([row.key[0] for row in rows], dtype=object)
        return infer_column_types(pd.DataFrame([row.columns() for row in rows], index=ids, dtype=object))

    def read_predictions(self, model: str, since: float, until: float) -> "pd.DataFrame":
        """Answers that callers got in a window, by request id, as columns."""
        found = [row for row in self.read_requests(model, since, until) if row.prediction is not None]
        return answers_to_frame([row.prediction for row in found], [row.key[0] for row in found])

    def newest_request_time(self, model: str, until: float) -> float | None:
        """When the last request until then was received [Unix seconds]; None without any."""
        found = self.query_rows(model, 'SELECT max("at") FROM log WHERE "at" <= $1', (until,))[0][0]
        return None if found is None else float(str(found))


def _feature_sql(column: str) -> str:
    """SQL that reads one feature of a row of `log` as the JSON text that the caller has sent."""
    key = column.replace("\\", "\\\\").replace('"', '\\"').replace("'", "''")
    return f"CAST(json_extract(features, '$.\"{key}\"') AS VARCHAR)"


def _requests_sql(condition: str, order: str, limit: int, known: int = 2) -> str:
    """SQL of the requests after $1 until $2, each once, with the labels known at the end.

    Args:
        condition: More that must hold of a row of `log`.
        order: The rows that come first are taken.
        limit: Number of the parameter that says how many are taken.
        known: Number of the parameter until when labels count.
    """
    return f"""
        WITH reported AS (
          SELECT request, "row",
                 list({{'at': "at", 'label': label}} ORDER BY "at", received NULLS FIRST, label::VARCHAR) AS labels
          FROM labels WHERE "at" <= ${known} GROUP BY ALL
        ), once AS (
          SELECT * FROM log
          WHERE "at" > $1 AND "at" <= $2 AND NOT (error IS NOT NULL AND answered_by IS NULL) {condition}
          QUALIFY row_number() OVER (PARTITION BY request, "row" ORDER BY "at") = 1
        )
        SELECT o.request, o."row", o."at", o.answered_by, o.arm, o.prediction, o.features, r.labels,
               o.params
        FROM once o LEFT JOIN reported r ON o.request = r.request AND o."row" = r."row"
        ORDER BY {order} LIMIT ${limit}
        """  # noqa: S608 - quoted, and our own words


def _without(request: LoggedRequest, columns: Collection[str]) -> LoggedRequest:
    """A request without some columns."""
    return replace(request, features={name: value for name, value in request.features.items() if name not in columns})


def _with_features(found: Sequence[Sequence[object]]) -> list[Sequence[object]]:
    """Rows whose features are kept."""
    return [cells for cells in found if parse_logged_json(cells[6]) is not None]


def _logged(cells: Sequence[object]) -> LoggedRequest:
    """A request of a row of `_requests_sql`."""
    request, row, at, answered_by, arm, prediction, features, labels, params = cells
    asked = parse_logged_json(features)
    reported = tuple((float(item["at"]), parse_logged_json(item["label"])) for item in labels or ())  # type: ignore[attr-defined]
    named, bare = (asked, None) if isinstance(asked, dict) else ({}, [asked])
    key = (str(request), int(str(row)))
    answer = (str(answered_by), str(arm), parse_logged_json(prediction))
    return LoggedRequest(key, float(str(at)), *answer, named, reported, parse_logged_json(params), bare)


def register_sql_functions(db: duckdb.DuckDBPyConnection) -> None:
    """Give a connection the function canonical_text(JSON text): SQL and Python spell every value alike."""
    db.create_function("canonical_text", canonical_text_of_json, ["VARCHAR"], "VARCHAR", null_handling="special")  # type: ignore[call-overload]


def parse_logged_json(text: object) -> object:
    """A JSON value of the log; what a caller nested beyond reading is nothing."""
    try:
        return orjson.loads(str(text)) if text is not None else None
    except orjson.JSONDecodeError:
        return None
