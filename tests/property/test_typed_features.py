"""Typed columns of compacted tables give exactly what the JSON of the same rows gives."""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.adapters.feature_tables import json_row_parsing
from surefoot.adapters.feature_tables.json_row_parsing import parse_json_rows
from surefoot.adapters.predictions import compaction, table_publication
from surefoot.adapters.predictions.compaction import compact_log
from surefoot.adapters.predictions.feature_columns import (
    FEATURE_COLUMN_PREFIX,
    Feature,
    FeatureKind,
    choose_features,
    is_listable_feature_name,
)
from surefoot.models.model_protocols import TableColumn
from tests.typed_columns import read_typed_features

NAMES = [
    "a",
    "A",
    "a.b",
    "é",
    "É",
    'say "x"',
    "it's",
    "back\\slash",
    "a/b~c",
    "",
    "nul\0",
    "$",
    "*",
    "0",
    "x y",
    "feature.a",
]
"""Names that SQL, JSON paths, Parquet or a comparison without case may take for something else."""
VALUES = {
    "double": ["1.5", "-0.0", "0.0", "1e22", "5e-324", "1.7976931348623157e308", "0.1", "100.0"],
    "long": ["1", "0", "-0", "-7", "9007199254740993", "9223372036854775807", "-9223372036854775808"],
    "boolean": ["true", "false"],
    "string": ['"a"', '""', '"1.5"', '"true"', '"null"', '"é\\u0000\\n\\"\\\\"', '"\\ud83d\\ude00"', '"2024-01-01"'],
}
ODD = [
    "null",
    "9223372036854775808",
    "18446744073709551616",
    "1e400",
    "-1e400",
    "1e-400",
    "NaN",
    "-Infinity",
    "[1]",
    '{"b":1}',
    "[]",
    "[1E400]",
    "[1" + "0" * 299 + "e10]",
]
EVERY = [value for some in VALUES.values() for value in some] + ODD
KINDS = ["double", "float", "long", "integer", "boolean", "string", "datetime", "binary"]

names = st.sampled_from(NAMES)


@st.composite
def row_texts(draw: st.DrawFn) -> list[str]:
    """JSON of some rows: most have the same columns with values of one type, some have not."""
    usual = draw(
        st.lists(st.tuples(names, st.sampled_from(sorted(VALUES))), min_size=1, max_size=5, unique_by=lambda c: c[0])
    )
    made = []
    for _ in range(draw(st.integers(1, 12))):
        items = [(name, draw(st.sampled_from([*VALUES[kind], "null"]))) for name, kind in usual]
        change = draw(st.integers(0, 9))
        if change == 0:
            items.pop(draw(st.integers(0, len(items) - 1)))
        elif change == 1:
            items.append((draw(names), draw(st.sampled_from(EVERY))))  # perhaps a name that is there
        elif change == 2:
            items[0] = (items[0][0], draw(st.sampled_from(EVERY)))
        elif change == 3:
            items = draw(st.permutations(items))
        row = "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in items) + "}"
        made.append(draw(st.sampled_from(["null", "[1.5,2]", "7", '"{"', "{}"])) if change == 4 else row)
    return made


@st.composite
def choices(draw: st.DrawFn) -> tuple[Feature, ...]:
    """Any features of a table, whether or not they suit the rows; no name needs a column of its own case."""
    found: list[Feature] = []
    for name in draw(st.lists(names, max_size=6, unique_by=str.casefold)):
        if not is_listable_feature_name(name):
            continue
        kind = draw(st.sampled_from(list(FeatureKind)))
        column = None if kind in {FeatureKind.ANY, FeatureKind.NULL} else f"{FEATURE_COLUMN_PREFIX}#{len(found)}"
        found.append(Feature(name, kind, column))
    return tuple(found) if any(feature.column for feature in found) else ()


signatures = st.lists(
    st.builds(TableColumn, names, st.sampled_from(KINDS), st.booleans()),
    min_size=1,
    max_size=4,
    unique_by=lambda c: c.name,
)


@contextlib.contextmanager
def compacted(parts: Sequence[Sequence[str]], chosen: Sequence[tuple[Feature, ...] | None]) -> Iterator[Path]:
    """Make one table of the rows of some parts, with these features or those that compaction chooses."""
    left = list(chosen)

    def choose(rows: Iterator[object]) -> tuple[Feature, ...]:
        found = left.pop(0) if left else None
        return choose_features(rows) if found is None else found

    with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_publication, "sync_path", lambda _path: None)
        patch.setattr(compaction, "choose_features", choose)
        patch.setattr(table_publication, "GROUP", 2048)
        if len(parts) > 1:
            patch.setattr(compaction, "PARTS_PER_TABLE", len(parts))
        folder = Path(home) / "m"
        folder.mkdir()
        number = 0
        for part in parts:
            lines = []
            for row in part:
                lines.append(f'{{"v":1,"request":"q{number}","row":0,"at":{number}.5,"features":{row}}}\n')
                number += 1
            (folder / "predictions-1-1-1.jsonl").write_text("".join(lines), encoding="utf-8")
            compact_log(Path(home), "m")
        (table,) = folder.glob("*.parquet")
        yield table


def texts(table: Path) -> pa.Array:
    """JSON of all rows of a table."""
    return pq.read_table(table, columns=["features"]).column(0).combine_chunks().cast(pa.string())


def assert_same(table: Path, columns: Sequence[TableColumn], first: int, end: int) -> None:
    """Both ways give the same table, to the last bit, of the same rows."""
    found = read_typed_features(table, first, end, columns)
    assert found is not None
    expected, places = parse_json_rows(texts(table).slice(first, end - first), columns)
    assert found[1].tolist() == places.tolist()
    assert found[0].schema == expected.schema
    assert found[0].equals(expected)
    for name, type_ in zip(expected.schema.names, expected.schema.types, strict=True):
        if pa.types.is_floating(type_):  # 0.0 equals -0.0
            ours, theirs = (t.column(name).fill_null(7.0).to_numpy() for t in (found[0], expected))
            assert np.signbit(ours).tolist() == np.signbit(theirs).tolist()


@given(rows=row_texts(), chosen=st.none() | choices(), columns=signatures, data=st.data())
def test_columns_give_what_the_json_gives(
    rows: list[str], chosen: tuple[Feature, ...] | None, columns: list[TableColumn], data: st.DataObject
) -> None:
    """Whatever the rows, the features that were chosen, the signature and the range: columns and JSON say the same."""
    with compacted([rows], [chosen]) as table:
        size = pq.read_metadata(table).num_rows
        first = data.draw(st.integers(0, size))
        end = data.draw(st.integers(first, size))
        if read_typed_features(table, first, end, columns) is not None:
            assert_same(table, columns, first, end)
            usual = [TableColumn(name, kind, True) for name, kind in (("a", "double"), ("é", "string"))]
            assert_same(table, usual, 0, size)
        else:
            assert not pa.types.is_binary(pq.read_schema(table).field("features").type)
            assert "feature_present" not in pq.read_schema(table).names


@given(
    parts=st.lists(row_texts(), min_size=2, max_size=3),
    chosen=st.lists(st.none() | choices(), min_size=4, max_size=4),
    columns=signatures,
)
def test_merged_parts_give_what_the_json_gives(
    parts: list[list[str]], chosen: list[tuple[Feature, ...] | None], columns: list[TableColumn]
) -> None:
    """Whatever typed columns the parts have, those of the whole table are right."""
    with compacted(parts, chosen) as table:
        size = pq.read_metadata(table).num_rows
        if read_typed_features(table, 0, size, columns) is not None:
            assert_same(table, columns, 0, size)


@given(rows=row_texts(), columns=signatures)
def test_whether_a_row_fits_depends_on_no_other(rows: list[str], columns: list[TableColumn]) -> None:
    """A row is in the table of many rows exactly if it is in a table of its own."""
    written = pa.array(
        [None if row == "null" else row.replace(":-0,", ":0,").replace(":-0}", ":0}") for row in rows], pa.string()
    )
    _, places = parse_json_rows(written, columns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_row_parsing, "_is_typed", lambda *_: False)
        alone = [n for n in range(len(rows)) if len(parse_json_rows(written.slice(n, 1), columns)[1])]
    assert places.tolist() == alone
