"""Find the logged requests of one unit, such as a customer, and the texts in them, so that both are erased."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import duckdb
import orjson
import pyarrow as pa

from surefoot.adapters.predictions.prediction_log import PredictionLog, parse_logged_json
from surefoot.core.canonical_text import canonical_text_of_json

_REMOVED_VALUE = "(removed)"
_MIN_VALUE_LENGTH = 6
"""Shorter texts say little of a person, and stand in pages for much else [characters]."""


@dataclass(frozen=True, slots=True)
class RequestsToErase:
    """The requests of a unit: they are removed, but for those that an incident holds, which get pseudonyms.

    Attributes:
        spellings: How the unit may stand in records; empty where only requests were named.
        columns: Columns of requests that hold units, by the policies of the model.
        requests: Pseudonym of each request that is kept, and None for each that is removed, by request id.
        pseudonym: What stands for the unit where its records are kept.
        values: Texts that only its requests have as features, and that a page, a log or the journal quotes.
    """

    spellings: tuple[str, ...]
    columns: tuple[str, ...]
    requests: Mapping[str, str | None]
    pseudonym: str
    values: tuple[str, ...] = ()

    @property
    def names(self) -> dict[str, str]:
        """What stands for each text that names the unit, one of its requests or a value, wherever one is quoted."""
        units = dict.fromkeys(self.values, _REMOVED_VALUE) | dict.fromkeys(self.spellings, self.pseudonym)
        return units | {one: pseudonym or self.pseudonym for one, pseudonym in self.requests.items()}

    def register(self, db: duckdb.DuckDBPyConnection) -> None:
        """Give a connection the table `erased` of request ids, and their pseudonyms where they are kept."""
        columns = {
            "erased_request": pa.array(list(self.requests), pa.string()),
            "new_request": pa.array(list(self.requests.values()), pa.string()),
        }
        db.register("erased", pa.table(columns))


@dataclass(frozen=True, slots=True)
class UnitRequests:
    """Requests that concern a unit.

    Attributes:
        times: When each was received [Unix seconds], by request id; infinite where only labels are known.
    """

    times: Mapping[str, float] = field(default_factory=dict)

    def within(self, since: float, until: float) -> tuple[str, ...]:
        """Requests of a time, both ends included [Unix seconds]."""
        return tuple(one for one, at in self.times.items() if since <= at <= until)


def find_unit_requests(
    log: PredictionLog, model: str, spellings: Sequence[str], columns: Sequence[str], named: Iterable[str]
) -> UnitRequests:
    """Find each request with a row of a unit, whichever row it is, and the named requests.

    Args:
        log: The log.
        model: Registered model.
        spellings: How the unit may stand in records.
        columns: Columns that hold units.
        named: Further requests.

    Raises:
        EvidenceUnavailable: The log cannot be read.
    """
    return UnitRequests(
        log.with_connection(model, lambda db: _find(db, tuple(spellings), tuple(columns), tuple(named)))
    )


def _find(
    db: duckdb.DuckDBPyConnection, spellings: tuple[str, ...], columns: tuple[str, ...], named: tuple[str, ...]
) -> dict[str, float]:
    texts = [_column_texts(db, column, spellings) for column in columns]
    wanted = ["list_contains($spellings, unit)", "list_contains($named, request)"]
    asked: dict[str, object] = {"spellings": list(spellings), "named": list(named)}
    found: dict[str, float] = {}
    for view in ("log", "shadows"):
        conditions = list(wanted)
        if view == "log":
            for place, (column, some) in enumerate(zip(columns, texts, strict=True)):
                conditions.append(f"list_contains($texts_{place}, {feature_text_sql(column)})")
                asked[f"texts_{place}"] = some
        which = f"request IS NOT NULL AND ({' OR '.join(conditions)})"
        sql = f'SELECT request, min("at") FROM {view} WHERE {which} GROUP BY 1'  # noqa: S608 - names are quoted
        used = {name: value for name, value in asked.items() if f"${name}" in sql}
        for request, at in db.execute(sql, used).fetchall():
            found[str(request)] = min(float(at), found.get(str(request), float("inf")))
    labelled = db.execute("SELECT DISTINCT request FROM labels WHERE list_contains($1, request)", [list(named)])
    return {str(request): float("inf") for (request,) in labelled.fetchall()} | found


def _column_texts(db: duckdb.DuckDBPyConnection, column: str, spellings: tuple[str, ...]) -> list[str]:
    """JSON texts of a column that mean the unit: a number is spelt in many ways."""
    sql = f"SELECT DISTINCT {feature_text_sql(column)} AS value FROM log WHERE value IS NOT NULL"  # noqa: S608 - quoted
    known = set(spellings)
    return [str(text) for (text,) in db.execute(sql).fetchall() if canonical_text_of_json(str(text)) in known]


def feature_text_sql(column: str) -> str:
    """SQL of the JSON text of one feature of a row; NULL where it is missing."""
    key = column.replace("\\", "\\\\").replace('"', '\\"').replace("'", "''")
    return f"CAST(json_extract(features, '$.\"{key}\"') AS VARCHAR)"


def find_feature_texts(log: PredictionLog, model: str, requests: Iterable[str]) -> tuple[str, ...]:
    """Different texts that some requests have as features, however nested.

    Raises:
        EvidenceUnavailable: The log cannot be read.
    """
    sql = "SELECT DISTINCT features FROM log WHERE list_contains($1, request) AND features IS NOT NULL"
    found: set[str] = set()
    for (features,) in log.query_rows(model, sql, (list(requests),)):
        found.update(_texts_in(parse_logged_json(features)))
    return tuple(sorted(text for text in found if len(text) >= _MIN_VALUE_LENGTH))


def _texts_in(value: object) -> Iterator[str]:
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            left += item.values()
        elif isinstance(item, list):
            left += item


def find_texts_only_in_requests(
    log: PredictionLog, model: str, requests: Iterable[str], texts: Iterable[str]
) -> tuple[str, ...]:
    """Those texts that no other request of the log has in its features.

    Raises:
        EvidenceUnavailable: The log cannot be read.
    """
    own, sql = (
        list(requests),
        "SELECT 1 FROM log WHERE NOT list_contains($1, request) AND contains(features, $2) LIMIT 1",
    )
    return tuple(text for text in texts if not log.query_rows(model, sql, (own, orjson.dumps(text).decode())))
