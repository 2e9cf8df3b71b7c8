"""The prediction log and its labels, queried with DuckDB; the schema is docs/record-schema.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import orjson

from surefoot.core.errors import EvidenceUnavailable

RECORD = {
    "request": "VARCHAR",
    "row": "INTEGER",
    "at": "DOUBLE",
    "unit": "VARCHAR",
    "arm": "VARCHAR",
    "version": "VARCHAR",
    "answered_by": "VARCHAR",
    "weight": "DOUBLE",
    "rollout": "VARCHAR",
    "latency_ms": "DOUBLE",
    "error": "VARCHAR",
    "prediction": "VARCHAR",
    "features": "VARCHAR",
}
LABEL = {"request": "VARCHAR", "row": "INTEGER", "label": "VARCHAR", "at": "DOUBLE"}


@dataclass(frozen=True, slots=True)
class Served:
    """One logged request row.

    Attributes:
        key: (request id, row).
        at: When it was received [Unix seconds].
        answered_by: Version that answered the caller.
        arm: Arm that it was assigned to.
        prediction: The answer, JSON value.
        features: The row of the request.
        label: What came true, or None while unknown.
    """

    key: tuple[str, int]
    at: float
    answered_by: str
    arm: str
    prediction: object
    features: dict[str, object]
    label: object = None


class PredictionLog:
    """Read access to everything that a gateway has logged below one folder."""

    def __init__(self, root: Path) -> None:
        """Remember where the segments are; nothing is opened before the first question."""
        self._root = root

    def rows(self, model: str, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Run one query over `log` and `labels` of a model.

        Args:
            model: Registered model.
            sql: A SELECT over the views log and labels; $1, $2, ... are the parameters.
            parameters: Values of the parameters.

        Raises:
            EvidenceUnavailable: The log cannot be read.
        """
        folder = self._root / model
        try:
            with duckdb.connect() as db:
                db.execute("SET threads = 1")
                for view, pattern, columns in (
                    ("log", "predictions-*.jsonl", RECORD),
                    ("labels", "labels-*.jsonl", LABEL),
                ):
                    files = sorted(str(path) for path in folder.glob(pattern) if path.stat().st_size)
                    db.execute(_view(view, files, columns))
                return db.execute(sql, list(parameters)).fetchall()
        except (duckdb.Error, OSError) as error:
            raise EvidenceUnavailable(f"the prediction log of {model} cannot be read: {error}") from error

    def requests(self, model: str, since: float, until: float, *, limit: int = 200_000) -> list[Served]:
        """Requests of a window with the labels known at its end, oldest first.

        A label that came twice counts as it came last; labels of unknown requests match nothing. A window that holds
        more than `limit` rows is sampled by request id, evenly over its time. Rows that are no mapping are left out.
        """
        found = self.rows(
            model,
            """
            WITH last AS (
              SELECT request, "row", arg_max(label, "at") AS label FROM labels WHERE "at" <= $2 GROUP BY ALL
            ), once AS (
              SELECT * FROM log WHERE "at" > $1 AND "at" <= $2
              QUALIFY row_number() OVER (PARTITION BY request, "row" ORDER BY "at") = 1
            )
            SELECT o.request, o."row", o."at", o.answered_by, o.arm, o.prediction, o.features, l.label
            FROM once o LEFT JOIN last l ON o.request = l.request AND o."row" = l."row"
            ORDER BY hash(o.request), o."row" LIMIT $3
            """,
            (since, until, limit),
        )
        made = []
        for request, row, at, answered_by, arm, prediction, features, label in found:
            asked = _json(features)
            if isinstance(asked, dict):
                key = (str(request), int(str(row)))
                answer = (str(answered_by), str(arm), _json(prediction))
                made.append(Served(key, float(str(at)), *answer, asked, _json(label)))
        return sorted(made, key=lambda served: (served.at, served.key))


def _json(text: object) -> object:
    """A JSON value of the log; what a caller nested beyond reading is nothing."""
    try:
        return orjson.loads(str(text)) if text is not None else None
    except orjson.JSONDecodeError:
        return None


def _view(name: str, files: list[str], columns: dict[str, str]) -> str:
    """A view over JSON lines; a torn last line (a crash in mid-write) is left out, not an error."""
    if not files:
        empty = ", ".join(f'NULL::{kind} AS "{column}"' for column, kind in columns.items())
        return f"CREATE VIEW {name} AS SELECT {empty} WHERE false"
    listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
    # JSON values are kept as text: an answer or a feature may be a number, a list or a mapping.
    typed = {
        column: "JSON" if column in {"prediction", "features", "label"} else kind for column, kind in columns.items()
    }
    wanted = "{" + ", ".join(f"'{column}': '{kind}'" for column, kind in typed.items()) + "}"
    options = "format='newline_delimited', ignore_errors=true, maximum_object_size=16777216"
    return f"CREATE VIEW {name} AS SELECT * FROM read_json([{listed}], {options}, columns={wanted})"  # noqa: S608 - files are ours
