"""Read recorded requests from Parquet, and replay traffic splits over them in a back-test."""

import contextlib
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from surefoot.adapters.predictions.labels_in_time import labels_in_time
from surefoot.adapters.predictions.prediction_log import register_sql_functions
from surefoot.adapters.predictions.recorded.column_sql import (
    canonical_text_sql,
    feature_column_name,
    quote_column,
    select_columns_sql,
    text_literal_sql,
    unreadable_conditions,
)
from surefoot.adapters.predictions.recorded.column_types import (
    LABEL_COLUMNS,
    LABEL_ERROR_RULES,
    OPTIONAL_COLUMNS,
    PANDAS_INDEX_COLUMN,
    RECORD_ERROR_RULES,
    REQUIRED_COLUMNS,
    VERSION_COLUMNS,
)
from surefoot.adapters.predictions.recorded.column_values import arrow_column_values
from surefoot.adapters.predictions.recorded.query_cache import QueryCache
from surefoot.adapters.predictions.recorded.split_views import mirrored_requests_sql, served_requests_sql
from surefoot.core.answers.answer_values import Floats
from surefoot.core.assignment import compute_assignment_bucket
from surefoot.core.domain import Arm, Split
from surefoot.core.errors import EvidenceUnavailable, Rejected

if TYPE_CHECKING:
    import pandas as pd

MAX_EXAMINED_REQUESTS = 200_000  # requests that are looked at one by one [count]
CHUNK_ROWS = 20_000  # requests that are taken out of the file at once
_MEMORY_LIMIT = "500MB"  # of sorting and joining; the rest goes through a temporary file
_NULLABLE = {"TINYINT": "Int64", "SMALLINT": "Int64", "INTEGER": "Int64", "BIGINT": "Int64", "BOOLEAN": "boolean"}
"""Types of columns whose missing values have no place in numpy's own, and pandas' types that have one."""


class RecordedRequests:
    """Reads a Parquet file once into a temporary database, and plays traffic splits over it.

    A request that both versions answered goes to the arm that the split of its time gives it, exactly as the gateway
    would have sent it; one that a single version answered stays where it was, under the weight that was in force.

    Attributes:
        champion: Version number of the champion's records.
        candidate: Version number of the candidate's records.
        first: Time of the first record [Unix seconds].
        last: Time of the last record [Unix seconds].
        requests: Different request rows [count].
        repeated: Records of a version for a row that an earlier one is of [count].
        sampled: Every row is there.
        live: Whether nothing in it can be later than a question; labels are known here before their time has come.
        features: Columns that are features.
    """

    sampled = 0

    def __init__(self, records: Path, labels: Path | None = None) -> None:
        """Read and check the file.

        Raises:
            Rejected: The file cannot be read, or breaks the schema; the message says where and what to do.
        """
        self._home = tempfile.TemporaryDirectory(prefix="surefoot-backtest-")
        self._db = duckdb.connect(str(Path(self._home.name) / "records.db"))
        self._windows: list[tuple[float, Split]] = []
        self._placed: str | None = None
        self._cache = QueryCache()
        try:
            self._db.execute(f"SET memory_limit = '{_MEMORY_LIMIT}'; SET threads = 1")
            self._db.execute("SET preserve_insertion_order = false")
            register_sql_functions(self._db)
            self._db.execute("SET TimeZone = 'UTC'")  # a timestamp means the same wherever the file is read
            self._load(records)
            self._pair(records)
            self._labels(labels)
        except duckdb.Error as error:
            self.close()
            raise Rejected(f"{records} cannot be read: {str(error).splitlines()[0]}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Forget everything."""
        self._db.close()
        self._home.cleanup()

    def _copy(self, path: Path, table: str, wanted: Mapping[str, str], needed: Sequence[str]) -> tuple[str, ...]:
        """Read a file into a table, and refuse what would be lost on the way; the names of all other columns."""
        if not path.is_file():
            raise Rejected(f"there is no file {path}")
        source = f"read_parquet({text_literal_sql(str(path))}, file_row_number = true)"
        try:
            described = self._db.execute(f"DESCRIBE SELECT * EXCLUDE (file_row_number) FROM {source}").fetchall()  # noqa: S608 - quoted
            types = {str(name): str(kind) for name, kind, *_ in described}
            if absent := [name for name in needed if name not in types]:
                raise Rejected(
                    f"{path} has no column {', '.join(map(repr, absent))}: needed are {', '.join(needed)}"
                    " (docs/record-schema.md)"
                )
            self._refuse(path, source, "file_row_number", dict(unreadable_conditions(wanted, types)))
            others = tuple(
                name
                for name in types
                if name not in {**REQUIRED_COLUMNS, **OPTIONAL_COLUMNS, **wanted}
                and not PANDAS_INDEX_COLUMN.fullmatch(name)
            )
            kept = ", ".join([select_columns_sql(wanted, types), "file_row_number", *map(quote_column, others)])
            self._db.execute(f"CREATE TABLE {table} AS SELECT {kept} FROM {source}")  # noqa: S608 - names are quoted
        except duckdb.Error as error:
            raise Rejected(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
        return others

    def _refuse(self, path: Path, source: str, place: str, rules: Mapping[str, str]) -> None:
        """What must hold of every record; the first one that breaks a rule is named."""
        for rule, what in rules.items():
            n, request, number = self._db.execute(
                f"SELECT count(*), arg_min_null(request, {place}), min({place}) FROM {source} WHERE {rule}"  # noqa: S608 - constant
            ).fetchone() or (0, None, 0)
            if n:
                who = f"record {number + 1}" if request is None else f"request {str(request)!r}"
                raise Rejected(f"{path}: {who} {what} ({n:,} such record{'s' if n > 1 else ''})")

    def _load(self, records: Path) -> None:
        """Every record, in the types that it must have."""
        self.live = False
        self.features = self._copy(records, "rec", {**REQUIRED_COLUMNS, **OPTIONAL_COLUMNS}, tuple(REQUIRED_COLUMNS))
        self._refuse(records, "rec", "file_row_number", RECORD_ERROR_RULES)
        edges = self._db.execute('SELECT min("at"), max("at") FROM rec').fetchone() or (None, None)
        if edges[0] is None:
            raise Rejected(f"{records} has no records")
        self.first, self.last = (float(value) for value in edges)
        named: dict[str, str] = {}
        for arm, version, request in self._db.execute(
            "SELECT arm, version, arg_min(request, file_row_number) FROM rec GROUP BY ALL ORDER BY min(file_row_number)"
        ).fetchall():
            if named.setdefault(arm, version) != version:
                raise Rejected(
                    f"{records}: request {request!r} has version {version} as the {arm}, others have {named[arm]}:"
                    " write a file for each pair of versions"
                )
        for arm in Arm:
            if arm.value not in named:
                raise Rejected(f"{records} has no record of the {arm}: a file needs those of both versions")
        self.champion, self.candidate = named["champion"], named["candidate"]
        if self.champion == self.candidate:
            raise Rejected(f"{records}: version {self.champion} is both champion and candidate: nothing to compare")

    def _pair(self, records: Path) -> None:
        """One row a request row, in the order of time, with what each version did; of repeated records the first."""
        for arm in Arm:
            self._db.execute(
                f"""
                CREATE TABLE {arm} AS SELECT * FROM rec WHERE arm = '{arm}'
                QUALIFY row_number() OVER (PARTITION BY request, "row" ORDER BY "at", file_row_number) = 1
                """  # noqa: S608 - constant
            )
        kept = "(SELECT count(*) FROM champion) + (SELECT count(*) FROM candidate)"
        found = self._db.execute(f"SELECT count(*) - ({kept}) FROM rec").fetchone() or (0,)  # noqa: S608 - constant
        self.repeated = int(found[0])
        self._db.execute("DROP TABLE rec")
        both = ", ".join(f"old.{name} AS champion_{name}, new.{name} AS candidate_{name}" for name in VERSION_COLUMNS)
        shared = ", ".join(f"coalesce(old.{name}, new.{name}) AS {name}" for name in ("unit", "label", "label_at"))
        features = "".join(
            f", coalesce(old.{quote_column(name)}, new.{quote_column(name)}) AS {feature_column_name(name)}"
            for name in self.features
        )
        # In the order of time, then of requests: a window is one slice of the table, and ties fall the same way.
        self._db.execute(
            f"""
            CREATE TABLE pairs AS
            SELECT row_number() OVER () - 1 AS n, NULL::DOUBLE AS place, * FROM (
              SELECT coalesce(old.request, new.request) AS request, coalesce(old."row", new."row") AS "row",
                     least(old."at", new."at") AS "at", old.request IS NOT NULL AND new.request IS NOT NULL AS paired,
                     CASE WHEN new.request IS NULL THEN 'champion' ELSE 'candidate' END AS alone,
                     coalesce(new.weight, old.weight) AS recorded, {shared}, {both} {features}
              FROM champion old FULL JOIN candidate new ON old.request = new.request AND old."row" = new."row"
              ORDER BY 3, 1, 2
            )
            """  # noqa: S608 - names are quoted
        )
        self.requests = int((self._db.execute("SELECT count(*) FROM pairs").fetchone() or (0,))[0])
        self._refuse(
            records,
            "pairs",
            "n",
            {
                "NOT paired AND recorded IS NULL": "was answered by one version only and has no 'weight': give the"
                " candidate's share of that moment in percent, or its arm cannot be compared"
            },
        )

    def _labels(self, labels: Path | None) -> None:
        """Every label with the number of its request, in the order of time and of the file; NULL for an unknown one."""
        more = ""
        if labels is not None:
            self._copy(labels, "told", LABEL_COLUMNS, ("request", "label", "at"))
            self._refuse(labels, "(SELECT * FROM told WHERE label IS NOT NULL)", "file_row_number", LABEL_ERROR_RULES)
            more = 'UNION ALL SELECT request, "row", to_json(label), "at", file_row_number + 1 FROM told'
            more += " WHERE label IS NOT NULL"
        self._db.execute(
            f"""
            CREATE TABLE labels AS
            SELECT p.n, l.* REPLACE (CAST(l.label AS VARCHAR) AS label) FROM (
              SELECT request, "row", to_json(label) AS label, coalesce(label_at, "at") AS "at", 0 AS received
              FROM pairs WHERE label IS NOT NULL {more}
            ) l LEFT JOIN pairs p ON p.request = l.request AND p."row" = l."row"
            ORDER BY p.n, l."at", l.received
            """  # noqa: S608 - constants
        )
        self._db.execute("DROP TABLE IF EXISTS told")

    def restart(self) -> None:
        """Forget where requests were sent, so that another rollout is played over the same records."""
        self._windows = []

    def shift(self, at: float, split: Split) -> None:
        """Send the requests from this moment on where the split says.

        Raises:
            EvidenceUnavailable: There is no room for it.
        """
        since = at if self._windows else self.first - 1.0
        self._windows.append((since, split))
        ends = [later for later, _ in self._windows[1:]] + [math.inf]
        periods = [(since, end, split) for (since, split), end in zip(self._windows, ends, strict=True)]
        served = [served_requests_sql(*period, self.candidate, self.features) for period in periods]
        mirrored = [mirrored_requests_sql(*period) for period in periods]
        try:
            if split.candidate is not None and self._placed != split.salt:
                self._place(split.salt)
            self._db.execute(f"CREATE OR REPLACE VIEW log AS {' UNION ALL '.join(served)}")
            self._db.execute(f"CREATE OR REPLACE VIEW shadows AS {' UNION ALL '.join(mirrored)}")
        except duckdb.Error as error:
            raise EvidenceUnavailable(f"the records cannot be split: {str(error).splitlines()[0]}") from error

    def _place(self, salt: str) -> None:
        """Place every unit on the ruler that the ramp is cut on, as the gateway does."""
        import pandas as pd  # noqa: PLC0415 - costs a command half a second

        self._db.execute("CREATE TABLE ruler (key VARCHAR, place DOUBLE)")
        keys = self._stream("SELECT DISTINCT coalesce(unit, request) FROM pairs WHERE paired", [])
        with contextlib.closing(self._db.cursor()) as writer:
            for batch in keys:
                made = pd.DataFrame({"key": batch.column(0).to_pylist()})  # DuckDB finds it by name
                made["place"] = [compute_assignment_bucket(salt, str(name)) for name in made["key"]]
                writer.execute("INSERT INTO ruler SELECT * FROM made")
        self._db.execute(
            """
            CREATE TABLE placed AS SELECT p.* REPLACE (r.place AS place)
            FROM pairs p LEFT JOIN ruler r ON p.paired AND r.key = coalesce(p.unit, p.request) ORDER BY p.n;
            DROP TABLE pairs; ALTER TABLE placed RENAME TO pairs; DROP TABLE ruler
            """
        )
        self._placed = salt

    def query_rows(self, _model: str, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Run one query over the views log and labels.

        Raises:
            EvidenceUnavailable: The query asks for what the file does not have.
        """
        key = (self._placed, *self._windows, sql, *((type(one), one) for one in parameters))
        try:
            return self._cache.fetch(key, lambda: self._db.execute(sql, list(parameters)).fetchall())
        except duckdb.Error as error:
            raise EvidenceUnavailable(f"the records cannot answer: {str(error).splitlines()[0]}") from error

    def slice_sql(self, column: str) -> str:
        """SQL that reads one feature of a row of `log` as its canonical text; NULL where it is missing.

        Raises:
            Rejected: The file has no such column.
        """
        if column not in self.features:
            raise Rejected(f"the records have no column {column!r} to make slices of")
        return canonical_text_sql(feature_column_name(column))

    def newest_request_time(self, _model: str, until: float) -> float | None:
        """When the last request until then was received [Unix seconds]; None without any."""
        found = self.query_rows("", 'SELECT max("at") FROM pairs WHERE "at" <= $1', (until,))[0][0]
        return None if found is None else float(str(found))

    def read_predictions(self, _model: str, since: float, until: float) -> "pd.DataFrame":
        """Answers that callers got in a window, at most LIMIT of them, as the column "prediction"."""
        sql = """SELECT prediction FROM log WHERE "at" > $1 AND "at" <= $2 AND prediction IS NOT NULL
                 ORDER BY hash(request) LIMIT $3"""
        return self._db.execute(sql, [since, until, MAX_EXAMINED_REQUESTS]).df()

    def read_features(self, _model: str, since: float, until: float) -> "pd.DataFrame":
        """Features of the requests of a window, at most LIMIT of them, taken evenly."""
        names = ", ".join(f"{feature_column_name(name)} AS {quote_column(name)}" for name in self.features) or "request"
        sql = f'SELECT {names} FROM pairs WHERE "at" > $1 AND "at" <= $2 ORDER BY hash(request) LIMIT $3'  # noqa: S608 - names are quoted
        found = self._db.execute(sql, [since, until, MAX_EXAMINED_REQUESTS])
        kinds = {str(name): str(kind) for name, kind, *_ in found.description or ()}
        frame = found.df()
        # A missing whole number must not make a column one of fractions.
        wanted = {name: _NULLABLE[kind] for name, kind in kinds.items() if kind in _NULLABLE and name in frame}
        return frame.astype(wanted)

    def first_answers(self, count: int) -> tuple[list[object], list[object]]:
        """The first answers of the champion and of the candidate, so many of each."""
        made = []
        for arm in Arm:
            sql = f"SELECT {arm}_prediction FROM pairs WHERE {arm}_prediction IS NOT NULL ORDER BY n LIMIT {count}"  # noqa: S608 - constants
            with contextlib.closing(self._db.cursor()) as reader:
                made.append(reader.sql(sql).to_arrow_table().columns[0].combine_chunks().to_pylist())
        return made[0], made[1]

    def sample_answers(self, since: float, until: float) -> tuple[Any, Any]:
        """Answers of the champion and of the candidate to the requests of a window, at most LIMIT of them."""
        sql = """SELECT champion_prediction, candidate_prediction FROM pairs
                 WHERE paired AND "at" > $1 AND "at" <= $2 ORDER BY hash(request) LIMIT $3"""
        with contextlib.closing(self._db.cursor()) as reader:
            found = reader.sql(sql, params=[since, until, MAX_EXAMINED_REQUESTS]).to_arrow_table()
        old, new = (arrow_column_values(column.combine_chunks()) for column in found.columns)
        return old, new

    def read_answer_pairs(
        self, since: float, until: float, maturity: float, columns: Sequence[str], known_until: float | None = None
    ) -> Iterator[dict[str, Any]]:
        """Requests that both versions were asked, a chunk at a time, in the order of time.

        Args:
            since: Beginning of the window [Unix seconds].
            until: End of the window; labels after it are not known [Unix seconds].
            maturity: Age at which a label counts [seconds]; 0 takes whatever is known.
            columns: Features wanted with it.
            known_until: Labels after this are not known instead [Unix seconds].

        Yields:
            Columns request, at, champion, candidate, label, in_time, known, and the features; numbers as arrays with
            NaN where there is none, everything else as lists with None.

        Raises:
            Rejected: A column is not in the file.
        """
        if absent := [name for name in columns if name not in self.features]:
            raise Rejected(f"the records have no column {absent[0]!r} to make slices of")
        names = "".join(f", {canonical_text_sql(feature_column_name(name))}" for name in columns)
        sql = f"""
            SELECT n, request, "at", champion_prediction, candidate_prediction {names} FROM pairs
            WHERE paired AND "at" > $1 AND "at" <= $2
        """  # noqa: S608 - names are quoted
        for batch in self._stream(sql, [since, until]):
            number, request, at, *sides = (arrow_column_values(column) for column in batch.columns)
            yield {
                "request": request,
                **dict(zip(("at", "champion", "candidate", *columns), (at, *sides), strict=True)),
                **self._came_true(number.astype(np.int64), at, until if known_until is None else known_until, maturity),
            }

    def _came_true(self, number: NDArray[np.int64], at: Floats, until: float, maturity: float) -> dict[str, Any]:
        """What is known of some requests: the label that counts, how many came in time, and how many came at all."""
        first, last = int(number.min()), int(number.max())
        sql = 'SELECT n, "at", label FROM labels WHERE n BETWEEN $1 AND $2 AND "at" <= $3 ORDER BY n, "at", received'
        with contextlib.closing(self._db.cursor()) as reader:
            found = reader.sql(sql, params=[first, last, until]).to_arrow_table()
        return labels_in_time(found, number, at, maturity)

    def _stream(self, sql: str, parameters: list[object]) -> Iterator[Any]:
        """Arrow batches of a query, one at a time."""
        with contextlib.closing(self._db.cursor()) as reader:
            batches = reader.sql(sql, params=parameters).to_arrow_reader(CHUNK_ROWS)
            yield from (batch for batch in batches if batch.num_rows)

    def unequal_feature_shares(self, since: float, until: float) -> list[tuple[str, float, int]]:
        """Share of the requests on which each feature differs between the versions: (name, share, requests)."""
        sums = ", ".join(
            f"count(*) FILTER (o.{quote_column(n)} IS DISTINCT FROM c.{quote_column(n)})" for n in self.features
        )
        some = " OR ".join(f"c.{quote_column(n)} IS NOT NULL" for n in self.features)
        if not self.features:
            return []
        found = self._db.execute(
            f"""
            SELECT count(*), count(*) FILTER ({some}), {sums} FROM champion o
            JOIN candidate c ON o.request = c.request AND o."row" = c."row"
            WHERE o."at" > $1 AND o."at" <= $2
            """,  # noqa: S608 - names are quoted
            [since, until],
        ).fetchone() or (0, 0)
        n, fed = int(found[0]), int(found[1])
        if not n or not fed:
            return []
        return [(name, int(apart) / n, n) for name, apart in zip(self.features, found[2:], strict=True)]
