"""Build the SQL that writes JSON features to typed Parquet columns, and lists them in the file's footer."""

import itertools
from collections.abc import Sequence

import duckdb
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from surefoot.adapters.predictions.feature_columns import (
    FEATURE_PRESENT_COLUMN,
    FEATURES_FOOTER_KEY,
    Feature,
    FeatureKind,
    encode_features_footer,
)
from surefoot.adapters.predictions.log_files import quote_sql_string

_NUMBERS = itertools.count()
"""Numbers of the functions that connections have been given."""
_SQL_TYPES = {
    FeatureKind.NUMBER: "DOUBLE",
    FeatureKind.INTEGER: "BIGINT",
    FeatureKind.TEXT: "VARCHAR",
    FeatureKind.BOOLEAN: "BOOLEAN",
}
_HUGE = r"[0-9][eE]\+?[0-9]{3}|[0-9]{200}"
"""Tells texts of rows with a number that may be beyond DOUBLE, which parsers of JSON refuse wherever it stands."""
_JSON_TYPES = ("NULL", "BIGINT", "UBIGINT", "DOUBLE", "VARCHAR", "BOOLEAN")
"""What `json_type` calls the types of values; anything else is nested. A missing value has no type."""
_ABSENT, _NULL, _NESTED = len(_JSON_TYPES) + 1, 0, len(_JSON_TYPES)
_FITTING = {
    FeatureKind.NUMBER: {"BIGINT", "UBIGINT", "DOUBLE"},
    FeatureKind.INTEGER: {"BIGINT", "UBIGINT"},
    FeatureKind.TEXT: {"VARCHAR"},
    FeatureKind.BOOLEAN: {"BOOLEAN"},
    FeatureKind.ANY: set(_JSON_TYPES),
    FeatureKind.NULL: set[str](),
}


def parquet_footer_option(features: Sequence[Feature]) -> str:
    """SQL of the option of COPY that lists the features in the table's footer."""
    return f"KV_METADATA {{{FEATURES_FOOTER_KEY}: {quote_sql_string(encode_features_footer(features))}}}"


def typed_columns_sql(db: duckdb.DuckDBPyConnection, select: str, features: Sequence[Feature]) -> str:
    """SQL that adds the typed columns of some features to rows with a column `features`; the rows keep their order.

    Args:
        db: Connection that will run it; it is given the function that the SQL calls.
        select: SQL of the rows.
        features: At least one with a column.
    """
    typed = [feature for feature in features if feature.column]
    fields = {feature.name: _SQL_TYPES[feature.kind] for feature in typed}
    kept = ", ".join(
        f"struct_extract(kept, {quote_sql_string(f.name)}) AS {_quote_name(f.column or '')}" for f in typed
    )
    presence = f"feature_presence_{next(_NUMBERS)}"
    _create_presence_function(db, presence, features)
    paths = ", ".join(quote_sql_string(_path(feature.name)) for feature in features)
    # Where the columns make the same JSON again, the row has exactly their features: nothing more is to be checked.
    whole = f"'{_blob(np.packbits([feature.column is not None for feature in features]).tobytes())}'::BLOB"
    nested = any(feature.kind is FeatureKind.ANY for feature in features)
    unsure = f"WHEN regexp_matches(CAST(features AS VARCHAR), '{_HUGE}') THEN NULL" if nested else ""
    layout = quote_sql_string(orjson.dumps(fields).decode())
    return f"""
      SELECT * EXCLUDE (found, kept), {kept} FROM (
        SELECT *, CASE WHEN {FEATURE_PRESENT_COLUMN} IS NOT NULL THEN found END AS kept FROM (
          SELECT *, CASE
              WHEN features IS NULL OR NOT starts_with(CAST(features AS VARCHAR), '{{') THEN NULL
              WHEN CAST(to_json(found) AS VARCHAR) = CAST(features AS VARCHAR) THEN {whole}
              {unsure}
              ELSE {presence}(json_type(features, [{paths}]), len(json_keys(features)), found)
            END AS {FEATURE_PRESENT_COLUMN}
          FROM (SELECT *, from_json(features, {layout}) AS found FROM ({select}))
        )
      )
    """  # noqa: S608 - names and texts are quoted


def _quote_name(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def _path(name: str) -> str:
    """JSON pointer of a key."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _blob(data: bytes) -> str:
    return "".join(f"\\x{byte:02X}" for byte in data)


def _create_presence_function(db: duckdb.DuckDBPyConnection, name: str, features: Sequence[Feature]) -> None:
    """Give a connection the function that tells which features a row has; null where its columns would not be right."""
    typed = [place for place, feature in enumerate(features) if feature.column]
    fitting = np.zeros((len(features), _ABSENT + 1), dtype=bool)
    fitting[:, [_NULL, _ABSENT]] = True
    for place, feature in enumerate(features):
        fitting[place, [_JSON_TYPES.index(name) for name in _FITTING[feature.kind]]] = True
        fitting[place, _NESTED] = feature.kind is FeatureKind.ANY
    names = pa.array(_JSON_TYPES)
    every = np.arange(len(features))

    def presence(types: pa.Array, keys: pa.Array, found: pa.Array) -> pa.Array:
        types, keys, found = (
            pa.concat_arrays(a.chunks) if isinstance(a, pa.ChunkedArray) else a for a in (types, keys, found)
        )
        values = types.flatten()
        known = pc.index_in(values.cast(pa.string()), value_set=names).fill_null(_NESTED).to_numpy().copy()
        known[values.is_null().to_numpy(zero_copy_only=False)] = _ABSENT
        codes = np.full((len(types), len(features)), _ABSENT)
        codes[types.is_valid().to_numpy(zero_copy_only=False)] = known.reshape(-1, len(features))
        present = codes != _ABSENT
        fits = fitting[every, codes].all(axis=1)
        fits &= present.sum(axis=1) == keys.fill_null(-1).to_numpy()  # else a key is no feature, or is there twice
        for field, place in enumerate(typed):  # a number beyond the range of its column became infinite or nothing
            values = found.field(field)
            held = values.is_valid() if not pa.types.is_floating(values.type) else pc.is_finite(values).fill_null(False)
            fits &= held.to_numpy(zero_copy_only=False) | (codes[:, place] == _NULL) | (codes[:, place] == _ABSENT)
        packed = np.packbits(present, axis=1)
        data = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(packed.shape[1]),
            len(packed),
            [pa.py_buffer(np.packbits(fits, bitorder="little").tobytes()), pa.py_buffer(packed.tobytes())],
        )
        return data.cast(pa.binary())

    kinds = ", ".join(f"{_quote_name(features[p].name)} {_SQL_TYPES[features[p].kind]}" for p in typed)
    db.create_function(  # type: ignore[call-overload]
        name, presence, ["VARCHAR[]", "BIGINT", f"STRUCT({kinds})"], "BLOB", type="arrow", null_handling="special"
    )
