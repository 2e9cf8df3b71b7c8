"""A file of recorded requests of both versions: the log, the labels and the answers that a rollout would have seen."""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from surefoot.core.errors import EvidenceUnavailable, Rejected
from surefoot.core.model import Arm, Split
from surefoot.core.traffic import bucket

NEEDED = {"request": "VARCHAR", "at": "DOUBLE", "arm": "VARCHAR", "version": "VARCHAR", "prediction": ""}
"""Columns that every record must have, and their types; a prediction may be a number, a list or a structure."""
OPTIONAL = {
    "row": "INTEGER",
    "unit": "VARCHAR",
    "weight": "DOUBLE",
    "error": "VARCHAR",
    "latency_ms": "DOUBLE",
    "cpu_ms": "DOUBLE",
    "rss_mb": "DOUBLE",
    "label": "",
    "label_at": "DOUBLE",
}
SIDES = ("version", "prediction", "error", "latency_ms", "cpu_ms", "rss_mb")
"""Columns that each of the two versions has of its own."""
LIMIT = 200_000
"""Requests that are looked at one by one [count]."""
CHUNK = 20_000
"""Requests that are taken out of the file at once [count]."""
MEMORY = "1GB"
"""What sorting and joining may keep in memory; the rest goes through a temporary file."""


def quoted(name: str) -> str:
    """A column's name as SQL wants it."""
    return '"' + name.replace('"', '""') + '"'


class RecordFile:
    """Reads a Parquet file once into a temporary database, and plays traffic splits over it.

    A request that both versions answered goes to the arm that the split of its time gives it, exactly as the gateway
    would have sent it; one that a single version answered stays where it was, under the weight that was in force.

    Attributes:
        champion: Version number of the champion's records.
        candidate: Version number of the candidate's records.
        first: Time of the first record [Unix seconds].
        last: Time of the last record [Unix seconds].
        requests: Different request rows [count].
        features: Columns that are features.
    """

    def __init__(self, records: Path, labels: Path | None = None) -> None:
        """Read and check the file.

        Raises:
            Rejected: The file cannot be read, or breaks the schema; the message says where and what to do.
        """
        self._home = tempfile.TemporaryDirectory(prefix="surefoot-backtest-")
        self._db = duckdb.connect(str(Path(self._home.name) / "records.db"))
        self._db.execute(f"SET memory_limit = '{MEMORY}'; SET threads = 1; SET preserve_insertion_order = false")
        try:
            self._load(records, labels)
        except duckdb.Error as error:
            raise Rejected(f"{records} cannot be read: {str(error).splitlines()[0]}") from error

    def close(self) -> None:
        """Forget everything."""
        self._db.close()
        self._home.cleanup()

    def _load(self, records: Path, labels: Path | None) -> None:
        if not records.is_file():
            raise Rejected(f"there is no file {records}")
        source = f"read_parquet({_text(str(records))})"
        types = self._types(source)
        self._check(records, types)
        self.features = tuple(name for name in types if name not in NEEDED and name not in OPTIONAL)
        columns = [
            _typed(name, kind) if name in types else f"NULL::{kind or 'VARCHAR'} AS {quoted(name)}"
            for name, kind in {**NEEDED, **OPTIONAL}.items()
        ]
        columns[list({**NEEDED, **OPTIONAL}).index("row")] = (
            'coalesce(TRY_CAST("row" AS INTEGER), 0) AS "row"' if ("row" in types) else '0 AS "row"'
        )
        kept = ", ".join([*columns, *map(quoted, self.features)])
        self._db.execute(f"CREATE TABLE rec AS SELECT {kept} FROM {source}")  # noqa: S608 - names are quoted
        self._facts(records)
        self._pair()
        self._labels(labels)
        self._db.execute(
            "CREATE TABLE schedule (since DOUBLE, until DOUBLE, weight DOUBLE, rollout VARCHAR, champion VARCHAR,"
            " candidate VARCHAR); CREATE TABLE ruler (key VARCHAR, place DOUBLE)"
        )
        self._views()

    def _types(self, source: str) -> dict[str, str]:
        return {str(row[0]): str(row[1]) for row in self._db.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}  # noqa: S608 - a path of the caller

    def _check(self, records: Path, types: Mapping[str, str]) -> None:
        if absent := [name for name in NEEDED if name not in types]:
            raise Rejected(
                f"{records} has no column {', '.join(map(repr, absent))}; a record needs {', '.join(NEEDED)}"
                " (docs/record-schema.md)"
            )

    def _facts(self, records: Path) -> None:
        """What must hold of every record, each with the first row that breaks it."""
        rules = {
            "request IS NULL": "has no request id",
            '"at" IS NULL OR NOT isfinite("at")': "has no time 'at' in Unix seconds",
            "arm IS NULL OR arm NOT IN ('champion', 'candidate')": "has an arm that is neither champion nor candidate",
            "version IS NULL": "has no version",
            "weight IS NOT NULL AND (weight < 0 OR weight > 100)": "has a weight outside 0 to 100 percent",
            "latency_ms < 0": "has a negative latency",
        }
        for rule, what in rules.items():
            found = self._db.execute(
                f'SELECT count(*), min(request), min("at") FROM rec WHERE {rule}'  # noqa: S608 - constant
            ).fetchone()
            if found and found[0]:
                raise Rejected(f"{records}: {found[0]:,} records, the first of request {found[1]!r}, {what}")
        versions = self._db.execute("SELECT arm, list(DISTINCT version) FROM rec GROUP BY arm").fetchall()
        named = {str(arm): sorted(found) for arm, found in versions}
        for arm in Arm:
            if len(named.get(arm, [])) != 1:
                seen = ", ".join(named.get(arm, [])) or "none"
                raise Rejected(f"{records}: one version must be the {arm}, found {seen}; a file is about one pair")
        self.champion, self.candidate = named["champion"][0], named["candidate"][0]
        if self.champion == self.candidate:
            raise Rejected(f"{records}: version {self.champion} is both champion and candidate")
        edges = self._db.execute('SELECT min("at"), max("at") FROM rec').fetchone()
        self.first, self.last = (float(value) for value in edges or (0.0, 0.0))

    def _pair(self) -> None:
        """One row a request row, with what each version did; of repeated records the first counts."""
        for arm in Arm:
            self._db.execute(
                f"""
                CREATE TABLE {arm} AS SELECT * FROM rec WHERE arm = '{arm}'
                QUALIFY row_number() OVER (PARTITION BY request, "row" ORDER BY "at") = 1
                """  # noqa: S608 - constant
            )
        self._db.execute("DROP TABLE rec")
        both = ", ".join(f"old.{name} AS champion_{name}, new.{name} AS candidate_{name}" for name in SIDES)
        shared = ", ".join(f"coalesce(old.{name}, new.{name}) AS {name}" for name in ("unit", "label", "label_at"))
        features = "".join(
            f", coalesce(old.{quoted(name)}, new.{quoted(name)}) AS {quoted(name)}" for name in self.features
        )
        self._db.execute(
            f"""
            CREATE TABLE pairs AS
            SELECT coalesce(old.request, new.request) AS request, coalesce(old."row", new."row") AS "row",
                   least(old."at", new."at") AS "at", old.request IS NOT NULL AND new.request IS NOT NULL AS paired,
                   CASE WHEN new.request IS NULL THEN 'champion' ELSE 'candidate' END AS alone,
                   coalesce(new.weight, old.weight) AS recorded, {shared}, {both} {features}
            FROM champion old FULL JOIN candidate new ON old.request = new.request AND old."row" = new."row"
            ORDER BY "at"
            """  # noqa: S608 - names are quoted
        )
        found = self._db.execute(
            "SELECT count(*), count(*) FILTER (NOT paired AND recorded IS NULL) FROM pairs"
        ).fetchone() or (0, 0)
        self.requests = int(found[0])
        if found[1]:
            raise Rejected(
                f"{found[1]:,} requests were answered by one version only and have no 'weight': without the share that"
                " the candidate was given then, its arm cannot be compared"
            )

    def _labels(self, labels: Path | None) -> None:
        own = """SELECT request, "row", CAST(to_json(label) AS VARCHAR) AS label, coalesce(label_at, "at") AS "at"
                 FROM pairs WHERE label IS NOT NULL"""
        more = ""
        if labels is not None:
            if not labels.is_file():
                raise Rejected(f"there is no file {labels}")
            source = f"read_parquet({_text(str(labels))})"
            types = self._types(source)
            if absent := [name for name in ("request", "label", "at") if name not in types]:
                raise Rejected(
                    f"{labels} has no column {', '.join(map(repr, absent))}; a label needs request, label, at"
                )
            row = '"row"' if "row" in types else "0"
            more = f"""UNION ALL SELECT request, {row}, CAST(to_json(label) AS VARCHAR), "at" FROM {source}
                       WHERE label IS NOT NULL"""  # noqa: S608 - a path of the caller
        self._db.execute(f"CREATE TABLE labels AS {own} {more}")
        self._db.execute(
            """
            CREATE TABLE truth AS
            SELECT request, "row", list({'at': "at", 'label': label} ORDER BY "at", label) AS reported
            FROM labels GROUP BY ALL
            """
        )

    def _views(self) -> None:
        own = ", ".join(
            f"CASE WHEN who = 'candidate' THEN candidate_{name} ELSE champion_{name} END AS {name}"
            for name in SIDES
            if name != "version"
        )
        sliced = "".join(f", {quoted(name)} AS {quoted('feature ' + name)}" for name in self.features)
        self._db.execute(
            f"""
            CREATE VIEW log AS
            SELECT request, "row", "at", unit, CASE WHEN weighed > 0 THEN assigned ELSE 'champion' END AS arm,
                   CASE WHEN weighed > 0 AND assigned = 'candidate' THEN trial ELSE serving END AS version,
                   CASE WHEN weighed > 0 AND NOT paired THEN recorded ELSE weighed END AS weight, rollout, {own}{sliced}
            FROM (
              SELECT *, CASE WHEN weighed > 0 THEN assigned WHEN serving = {_text(self.candidate)} THEN 'candidate'
                        ELSE 'champion' END AS who
              FROM (
                SELECT p.*, s.weight AS weighed, s.rollout, s.champion AS serving, s.candidate AS trial,
                       CASE WHEN NOT p.paired THEN p.alone WHEN r.place < s.weight THEN 'candidate'
                       ELSE 'champion' END AS assigned
                FROM pairs p JOIN schedule s ON p."at" >= s.since AND p."at" < s.until
                LEFT JOIN ruler r ON r.key = coalesce(p.unit, p.request)
              )
            ) WHERE paired OR alone = who
            """  # noqa: S608 - names are ours, a version is quoted
        )

    def shift(self, at: float, split: Split) -> None:
        """Send the requests from this moment on where the split says."""
        if split.candidate is not None and not self._db.execute("SELECT 1 FROM ruler LIMIT 1").fetchone():
            self._place(split.salt)
        self._db.execute("UPDATE schedule SET until = $1 WHERE until > $1", [at])
        candidate = split.candidate.number if split.candidate else None
        since = at if self._db.execute("SELECT 1 FROM schedule LIMIT 1").fetchone() else self.first - 1.0
        self._db.execute(
            "INSERT INTO schedule VALUES ($1, $2, $3, $4, $5, $6)",
            [since, 1e300, split.weight, split.rollout, split.champion.number, candidate],
        )

    def _place(self, salt: str) -> None:
        """Place every unit on the ruler that the ramp is cut on, as the gateway does."""
        keys = self._stream("SELECT DISTINCT coalesce(unit, request) FROM pairs WHERE paired", [])
        with contextlib.closing(self._db.cursor()) as writer:
            for batch in keys:
                names = batch.column(0).to_pylist()
                made = pd.DataFrame({"key": names, "place": [bucket(salt, str(name)) for name in names]})  # noqa: F841 - DuckDB finds it by name
                writer.execute("INSERT INTO ruler SELECT * FROM made")

    def rows(self, _model: str, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Run one query over the views log and labels.

        Raises:
            EvidenceUnavailable: The query asks for what the file does not have.
        """
        try:
            return self._db.execute(sql, list(parameters)).fetchall()
        except duckdb.Error as error:
            raise EvidenceUnavailable(f"the records cannot answer: {str(error).splitlines()[0]}") from error

    def slice_of(self, column: str) -> str:
        """SQL that reads one feature of a row of `log` as text; NULL where it is missing.

        Raises:
            Rejected: The file has no such column.
        """
        if column not in self.features:
            raise Rejected(f"the records have no column {column!r} to make slices of")
        return f"CAST({quoted('feature ' + column)} AS VARCHAR)"

    def newest(self, _model: str, until: float) -> float | None:
        """When the last request until then was received [Unix seconds]; None without any."""
        found = self.rows("", 'SELECT max("at") FROM pairs WHERE "at" <= $1', (until,))[0][0]
        return None if found is None else float(str(found))

    def given(self, _model: str, since: float, until: float) -> pd.DataFrame:
        """Answers that callers got in a window, as the column "prediction"."""
        sql = 'SELECT prediction FROM log WHERE "at" > $1 AND "at" <= $2 AND prediction IS NOT NULL'
        return self._db.execute(sql, [since, until]).df()

    def frame(self, _model: str, since: float, until: float) -> pd.DataFrame:
        """Features of the requests of a window, at most LIMIT of them, taken evenly."""
        names = ", ".join(map(quoted, self.features)) or "request"
        sql = f'SELECT {names} FROM pairs WHERE "at" > $1 AND "at" <= $2 ORDER BY hash(request) LIMIT $3'  # noqa: S608 - names are quoted
        return self._db.execute(sql, [since, until, LIMIT]).df()

    def answers(self, since: float, until: float, maturity: float, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Requests that both versions were asked, a chunk at a time.

        Args:
            since: Beginning of the window [Unix seconds].
            until: End of the window; labels after it are not known [Unix seconds].
            maturity: Age at which a label counts [seconds]; 0 takes whatever is known.
            columns: Features wanted with it.

        Yields:
            Columns at, champion, candidate, label, in_time, known, and the features; numbers as arrays with NaN where
            there is none, everything else as lists with None.

        Raises:
            Rejected: A column is not in the file.
        """
        if absent := [name for name in columns if name not in self.features]:
            raise Rejected(f"the records have no column {absent[0]!r} to make slices of")
        names = "".join(f", p.{quoted(name)}" for name in columns)
        counted = 'r.at <= $2 AND ($3 = 0 OR r.at <= p."at" + $3)'
        sql = f"""
            SELECT p."at", p.champion_prediction AS champion, p.candidate_prediction AS candidate,
                   list_filter(t.reported, lambda r: {counted})[-1].label AS label,
                   len(list_filter(t.reported, lambda r: {counted})) AS in_time,
                   len(list_filter(t.reported, lambda r: r.at <= $2)) AS known {names}
            FROM pairs p LEFT JOIN truth t ON t.request = p.request AND t."row" = p."row"
            WHERE p.paired AND p."at" > $1 AND p."at" <= $2
        """  # noqa: S608 - names are quoted
        for batch in self._stream(sql, [since, until, maturity]):
            yield {name: _plain(name, batch.column(index)) for index, name in enumerate(batch.schema.names)}

    def _stream(self, sql: str, parameters: list[object]) -> Iterator[Any]:
        """Arrow batches of a query, one at a time."""
        with contextlib.closing(self._db.cursor()) as reader:
            yield from reader.sql(sql, params=parameters).to_arrow_reader(CHUNK)

    def unequal(self, since: float, until: float) -> list[tuple[str, float, int]]:
        """Share of the requests on which each feature differs between the versions: (name, share, requests)."""
        sums = ", ".join(f"count(*) FILTER (o.{quoted(n)} IS DISTINCT FROM c.{quoted(n)})" for n in self.features)
        some = " OR ".join(f"c.{quoted(n)} IS NOT NULL" for n in self.features)
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


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _typed(name: str, kind: str) -> str:
    """One column in the type that it must have; times may be timestamps."""
    if name in {"at", "label_at"}:
        column = quoted(name)
        return f"CASE WHEN TRY_CAST({column} AS DOUBLE) IS NULL THEN epoch(TRY_CAST({column} AS TIMESTAMP)) ELSE TRY_CAST({column} AS DOUBLE) END AS {column}"  # noqa: E501 - one expression
    return f"TRY_CAST({quoted(name)} AS {kind}) AS {quoted(name)}" if kind else quoted(name)


def _plain(name: str, column: Any) -> Any:
    """An Arrow column as the tally wants it."""
    import pyarrow as pa  # noqa: PLC0415 - only who backtests needs it

    if name == "label":
        values = [None if text is None else json.loads(text) for text in column.to_pylist()]
        numeric = all(
            value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values
        )
        return np.array([np.nan if value is None else value for value in values], dtype=float) if numeric else values
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
    return column.to_pylist()
