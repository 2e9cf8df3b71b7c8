"""Choose which features a compacted log file stores as typed columns, and list them in its Parquet footer."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import orjson

FEATURE_COLUMN_PREFIX = "feature."
"""What the names of typed columns begin with; no other column has a dot."""
FEATURE_PRESENT_COLUMN = "feature_present"
"""Column with one bit a feature of the table, set where the row has it; null where only the JSON is right."""
RECORD_COLUMNS_SQL = (
    f"COLUMNS(lambda c: NOT starts_with(c, '{FEATURE_COLUMN_PREFIX}') AND c <> '{FEATURE_PRESENT_COLUMN}')"
)
"""SQL of those columns of a table that are fields of its records."""
FEATURES_FOOTER_KEY = "surefoot_features"
"""Key of the Parquet footer that holds the features of a table."""
_MAX_FEATURES = 500
"""A table whose rows have more different features gets no typed columns [count]."""
_MAX_MEAN_LENGTH = 64
"""Texts that are longer on average are not written twice [characters]."""
_ODD_SHARE = 0.1
"""A feature has the type of a column where no larger share of its values has another type."""
_FRACTION_SHARE = 0.01
"""Whole numbers are kept as such where no larger share of them has a fraction."""
_RARE_SHARE = 0.01
"""Rows with a feature that is rarer stay JSON."""
_EDITION = 1
_MAX_NAME = 200
"""Rows with a longer name stay JSON [characters]."""
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_. -]{1,100}")
_INT64 = range(-(2**63), 2**63)


class FeatureKind(StrEnum):
    """What the values of a feature are, wherever a row's features are in columns.

    A NUMBER was written with or without a fraction. ANY has no column: its values are of several types, nested, or long
    texts. NULL has no column either: no value but null was seen.
    """

    NUMBER = "number"
    INTEGER = "integer"
    TEXT = "text"
    BOOLEAN = "boolean"
    ANY = "any"
    NULL = "null"


class Feature(NamedTuple):
    """One feature of the rows of a table.

    Attributes:
        name: Its key in the JSON of a row.
        kind: What its values are.
        column: Name of its column in the table; None without one.
    """

    name: str
    kind: FeatureKind
    column: str | None


def choose_features(rows: Iterable[object]) -> tuple[Feature, ...]:
    """Choose the features of a table by some of its rows.

    Any choice is right: what does not fit it stays JSON. A good choice lets most rows fit.

    Args:
        rows: Parsed `features` of some rows.

    Returns:
        The features, in the order in which rows have them; none where no feature can have a column.
    """
    objects = [row for row in rows if isinstance(row, dict)]
    seen: dict[str, Counter[FeatureKind]] = {}
    lengths: Counter[str] = Counter()
    for row in objects:
        for name, value in row.items():
            seen.setdefault(name, Counter())[_kind(value)] += 1
            lengths[name] += len(value) if isinstance(value, str) else 0
    common = {n: k for n, k in seen.items() if k.total() >= _RARE_SHARE * len(objects) and is_listable_feature_name(n)}
    if len(common) > _MAX_FEATURES:
        return ()
    twins = Counter(name.casefold() for name in common)  # names of columns, and of fields in SQL, ignore case
    found: list[Feature] = []
    for number, (name, kinds) in enumerate(common.items()):
        kind = _common_kind(kinds)
        long = kind is FeatureKind.TEXT and lengths[name] > _MAX_MEAN_LENGTH * kinds[kind]
        if long or (twins[name.casefold()] > 1 and kind is not FeatureKind.NULL):
            kind = FeatureKind.ANY
        column = None
        if kind not in {FeatureKind.ANY, FeatureKind.NULL}:
            column = FEATURE_COLUMN_PREFIX + (name if _PLAIN_NAME.fullmatch(name) else f"#{number}")
        found.append(Feature(name, kind, column))
    return tuple(found) if any(feature.column for feature in found) else ()


def is_listable_feature_name(name: str) -> bool:
    """Tell whether a table may list a feature: SQL has no words for an empty name or one with control characters."""
    return 0 < len(name) <= _MAX_NAME and name.isprintable()


def _kind(value: object) -> FeatureKind:
    if value is None:
        return FeatureKind.NULL
    if isinstance(value, bool):
        return FeatureKind.BOOLEAN
    if isinstance(value, int):
        return FeatureKind.INTEGER if value in _INT64 else FeatureKind.NUMBER
    if isinstance(value, float):
        return FeatureKind.NUMBER
    return FeatureKind.TEXT if isinstance(value, str) else FeatureKind.ANY


def _common_kind(kinds: Mapping[FeatureKind, int]) -> FeatureKind:
    """Give the kind that nearly all values have; a whole number is a number too."""
    values = sum(kinds.values()) - kinds[FeatureKind.NULL]
    if not values:
        return FeatureKind.NULL
    enough = (1.0 - _ODD_SHARE) * values
    if kinds[FeatureKind.INTEGER] + kinds[FeatureKind.NUMBER] >= enough:
        return FeatureKind.NUMBER if kinds[FeatureKind.NUMBER] > _FRACTION_SHARE * values else FeatureKind.INTEGER
    return next((kind for kind in (FeatureKind.TEXT, FeatureKind.BOOLEAN) if kinds[kind] >= enough), FeatureKind.ANY)


def encode_features_footer(features: Sequence[Feature]) -> str:
    """Encode the list of features as text for the Parquet footer."""
    listed = [{"name": f.name, "kind": f.kind, "column": f.column} for f in features]
    return orjson.dumps({"edition": _EDITION, "features": listed}).decode()


def decode_features_footer(metadata: Mapping[bytes, bytes] | None) -> tuple[Feature, ...]:
    """Give the features of a table by its footer; none where it has no typed columns that this release knows."""
    text = (metadata or {}).get(FEATURES_FOOTER_KEY.encode())
    if text is None or (told := orjson.loads(text))["edition"] != _EDITION:
        return ()
    return tuple(Feature(f["name"], FeatureKind(f["kind"]), f["column"]) for f in told["features"])
