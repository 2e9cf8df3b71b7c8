"""Compaction writes features into typed columns beside their JSON, and readers of the log see no difference."""

import json
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from surefoot.adapters.feature_tables.json_row_parsing import parse_json_rows
from surefoot.adapters.feature_tables.typed_column_reader import TypedColumnReader
from surefoot.adapters.predictions import compaction, feature_columns, table_publication
from surefoot.adapters.predictions.compaction import compact_log
from surefoot.adapters.predictions.feature_columns import FEATURE_PRESENT_COLUMN, Feature, decode_features_footer
from surefoot.adapters.predictions.feature_sql import typed_columns_sql
from surefoot.adapters.predictions.log_files import PREDICTION_FILES
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.errors import EvidenceUnavailable
from surefoot.models.model_protocols import TableColumn
from tests.integration.log_writing import record, write
from tests.typed_columns import read_typed_features

X = [TableColumn("x", "double", True)]


def compacted(root: Path, *rows: object) -> Path:
    """The one table of these rows."""
    write(root, [record(number, features=row) for number, row in enumerate(rows)])
    compact_log(root, "m")
    return only_table(root)


def only_table(root: Path) -> Path:
    """The one table of predictions."""
    (table,) = (root / "m").glob("predictions-*.parquet")
    return table


def table_features(table: Path) -> tuple[Feature, ...]:
    """Features that a table lists."""
    return decode_features_footer(pq.read_metadata(table).metadata)


def kinds(table: Path) -> dict[str, str]:
    """Kind of each feature that a table lists."""
    return {feature.name: feature.kind.value for feature in table_features(table)}


def test_each_feature_has_the_column_of_its_values(tmp_path: Path) -> None:
    """Numbers, whole numbers, truth values and texts have columns; what is mixed, nested or never there has none."""
    rows = [
        {
            "x": 1.5 if n % 2 else 1,
            "n": n,
            "yes": n > 3,
            "s": f"a{n}",
            "mixed": n if n % 2 else "b",
            "deep": [n],
            "no": None,
        }
        for n in range(10)
    ]
    table = compacted(tmp_path, *rows)
    assert kinds(table) == {
        "x": "number",
        "n": "integer",
        "yes": "boolean",
        "s": "text",
        "mixed": "any",
        "deep": "any",
        "no": "null",
    }
    found = pq.read_table(table)
    types = {name: str(found.schema.field(name).type) for name in found.schema.names if name.startswith("feature.")}
    assert types == {"feature.x": "double", "feature.n": "int64", "feature.yes": "bool", "feature.s": "string"}
    assert found.column("feature.x").to_pylist() == [float(row["x"]) for row in rows]  # type: ignore[arg-type]
    assert found.column("feature.s").to_pylist() == [row["s"] for row in rows]
    assert found.column(FEATURE_PRESENT_COLUMN).to_pylist() == [b"\xfe"] * 10
    assert [json.loads(text) for text in found.column("features").to_pylist()] == rows


def test_a_row_that_does_not_fit_keeps_its_json_only(tmp_path: Path) -> None:
    """A row with a value of another type, a rare key, a key twice or no names has null in all typed columns."""
    odd = [{"x": "1.5"}, {"x": 1.5, "rare": 1}, [1.5], None, {"x": [1.5]}]
    table = compacted(tmp_path, *({"x": float(n)} for n in range(900)), *odd)
    found = pq.read_table(table, columns=[FEATURE_PRESENT_COLUMN, "feature.x", "features"])
    assert found.column("feature.x").to_pylist() == [float(n) for n in range(900)] + [None] * len(odd)
    assert found.column(FEATURE_PRESENT_COLUMN).null_count == len(odd)
    read = read_typed_features(table, 895, 905, X)
    assert read is not None
    assert read[0].column("x").to_pylist() == [895.0, 896.0, 897.0, 898.0, 899.0, 1.5]
    assert read[1].tolist() == [0, 1, 2, 3, 4, 6]


def test_the_view_has_the_columns_of_the_records_only(tmp_path: Path) -> None:
    """Typed columns are in the files and not in the view, whatever types they have in different files."""
    for value in (1.5, "a", True, 7, [1]):
        write(tmp_path, [record(number, features={"x": value, "X": 1}) for number in range(3)])
        compact_log(tmp_path, "m")
    log = PredictionLog(tmp_path)
    names = [str(row[0]) for row in log.query_rows("m", "SELECT column_name FROM (DESCRIBE log)")]
    assert names == list(PREDICTION_FILES.columns)
    assert len(log.query_rows("m", "SELECT * FROM log")) == 15


def test_names_are_no_obstacle(tmp_path: Path) -> None:
    """Names that SQL, JSON paths or a comparison without case take for something else lose and confuse nothing."""
    row = {
        'say "x"': 1.5,
        "it's": 2.5,
        "a.b": 3.5,
        "a": 4.5,
        "B": 5.5,
        "b": 6.5,
        "$": 7.5,
        "é/~": 8.5,
        "": 9.5,
        "features": 1.0,
    }
    table = compacted(tmp_path, row, row)
    columns = [TableColumn(name, "double", True) for name in row]
    read = read_typed_features(table, 0, 2, columns)
    assert read is None or read[0].to_pylist() == [row, row]
    del row[""]  # no name of a column
    (tmp_path / "other").mkdir()
    table = compacted(tmp_path / "other", row, row)
    read = read_typed_features(table, 0, 2, columns[:8] + columns[9:])
    assert read is not None
    assert read[0].to_pylist() == [row, row]
    assert kinds(table)["B"] == kinds(table)["b"] == "any"
    assert sum(feature.column is not None for feature in table_features(table)) == 7


@pytest.mark.parametrize(("count", "typed"), [(300, True), (700, False)])
def test_hundreds_of_features_have_columns_and_more_have_none(tmp_path: Path, count: int, typed: bool) -> None:
    """A table lists up to 500 features; with more it has none, and its rows are read from JSON as before."""
    row = {f"x{number}": number / 7.0 for number in range(count)}
    table = compacted(tmp_path, row, {**row, "x0": None}, row)
    assert bool(table_features(table)) is typed
    columns = [TableColumn(name, "double", True) for name in row]
    read = read_typed_features(table, 0, 3, columns)
    assert (read is not None) is typed
    if read is not None:
        assert read[0].to_pylist() == [row, {**row, "x0": None}, row]


@pytest.mark.parametrize("error", [duckdb.OutOfMemoryException, duckdb.BinderException, duckdb.ConversionException])
def test_what_cannot_be_typed_is_compacted_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[duckdb.Error]
) -> None:
    """Features that DuckDB cannot type, or not in the memory that it may use, keep no log from being compacted."""

    def fails(*_: object) -> str:
        raise error("no")

    monkeypatch.setattr(table_publication, "typed_columns_sql", fails)
    table = compacted(tmp_path, *({"x": float(-n)} for n in range(5)))
    assert table_features(table) == ()
    assert pq.read_schema(table).names == list(PREDICTION_FILES.columns)
    assert pq.read_table(table, columns=["at"]).column(0).to_pylist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_many_columns_are_typed_after_they_are_sorted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory does not suffice to sort and to type at once, rows are sorted first, and are in order and typed."""

    def fails(db: duckdb.DuckDBPyConnection, select: str, features: tuple[Feature, ...]) -> str:
        if "ORDER BY" in select:
            raise duckdb.OutOfMemoryException("no")
        return typed_columns_sql(db, select, features)

    monkeypatch.setattr(table_publication, "typed_columns_sql", fails)
    monkeypatch.setattr(table_publication, "GROUP", 2048)
    write(tmp_path, [record(n, features={"x": float(n)}) for n in reversed(range(9000))])
    compact_log(tmp_path, "m")
    read = read_typed_features(only_table(tmp_path), 0, 9000, X)
    assert read is not None
    assert read[0].column("x").to_pylist() == [float(n) for n in range(9000)]
    assert sorted(path.name for path in (tmp_path / "m" / ".compaction").iterdir()) == ["lock"]


def test_without_features_there_are_no_columns(tmp_path: Path) -> None:
    """Rows without names, or whose features are not kept, make a table as before."""
    table = compacted(tmp_path, [1.5], None, {})
    assert table_features(table) == ()
    assert pq.read_schema(table).names == list(PREDICTION_FILES.columns)
    assert read_typed_features(table, 0, 3, X) is None


def test_long_texts_are_not_written_twice(tmp_path: Path) -> None:
    """A feature of long texts has no column, so that a log of texts does not double; the others have theirs."""
    table = compacted(tmp_path, *({"text": f"{n}" * 100, "x": float(n)} for n in range(1, 9)))
    assert kinds(table) == {"text": "any", "x": "number"}


def test_null_is_told_from_absent(tmp_path: Path) -> None:
    """A required column that is null fits and one that is absent does not, as where the JSON is read."""
    table = compacted(tmp_path, {"x": 1.5, "y": 1.0}, {"x": None, "y": 1.0}, {"y": 1.0}, {"y": None}, {})
    for required in (True, False):
        read = read_typed_features(
            table, 0, 5, [TableColumn("x", "double", required), TableColumn("z", "double", False)]
        )
        assert read is not None
        assert read[1].tolist() == ([0, 1] if required else [0, 1, 2, 3, 4])
    read = read_typed_features(table, 0, 5, [TableColumn("z", "double", True)])
    assert read is not None
    assert read[1].tolist() == []


@pytest.mark.parametrize("huge", ["1e400", "-1E400", "1" + "0" * 400, "9" * 299 + "e10"])
@pytest.mark.parametrize("place", ['"x":%s', '"n":%s', '"any":[%s]', '"any":%s', '"rare":%s'])
def test_a_number_beyond_double_is_read_as_from_json(tmp_path: Path, huge: str, place: str) -> None:
    """A row with a number that parsers of JSON may refuse fits exactly if it fits where the JSON is read."""
    rows = ['{"x":1.5,"n":1,"any":[1],"any":2}' if n == 3 else f'{{"x":{n}.5,"n":{n},"any":[1]}}' for n in range(20)]
    rows[5] = "{" + place % huge + "}"
    lines = [record(n).replace(b'{"x": %d, "place": "LGA"}' % n, row.encode()) for n, row in enumerate(rows)]
    write(tmp_path, lines)
    compact_log(tmp_path, "m")
    table = only_table(tmp_path)
    texts = pq.read_table(table, columns=["features"]).column(0).combine_chunks().cast(pa.string())
    for column in (*X, TableColumn("n", "long", False), TableColumn("other", "string", False)):
        read = read_typed_features(table, 0, 20, [column])
        expected, places = parse_json_rows(texts, [column])
        assert read is not None
        assert read[1].tolist() == places.tolist()
        assert read[0].equals(expected)


def test_zeros_keep_their_signs(tmp_path: Path) -> None:
    """A column that has both zeros gives each as it was written."""
    table = compacted(tmp_path, *({"x": 0.0 if n % 3 else -0.0} for n in range(300)))
    read = read_typed_features(table, 0, 300, X)
    assert read is not None
    assert np.signbit(read[0].column("x").to_numpy()).tolist() == [n % 3 == 0 for n in range(300)]


def test_ranges_across_row_groups_are_those_of_the_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Consecutive ranges of an open table, within and across row groups, join to all of its rows."""
    monkeypatch.setattr(table_publication, "GROUP", 2048)
    table = compacted(tmp_path, *({"x": float(n) if n % 50 else "odd"} for n in range(7000)))
    assert pq.read_metadata(table).num_row_groups > 2
    texts = pq.read_table(table, columns=["features"]).column(0).combine_chunks().cast(pa.string())
    with TypedColumnReader(table) as features:
        for first in range(0, 7000, 900):
            end = min(7000, first + 900)
            read = features.read_rows(first, end, X)
            assert read is not None
            expected, places = parse_json_rows(texts.slice(first, end - first), X)
            assert read[0].equals(expected)
            assert read[1].tolist() == places.tolist()
        read = features.read_rows(3, 3, X)
        assert read is not None
        assert read[0].num_rows == 0


@pytest.mark.parametrize("older", [True, False])
def test_merging_parts_gives_them_one_set_of_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, older: bool
) -> None:
    """Parts that disagree, or that an older release has written without typed columns, get columns that are right."""
    monkeypatch.setattr(compaction, "PARTS_PER_TABLE", 3)
    given: list[dict[str, int | float | str | None]] = [{"x": 1, "s": "a"}, {"x": 2.5, "s": None}, {"s": "b", "x": 3}]
    for number, row in enumerate(given):
        with monkeypatch.context() as patch:
            if older:
                patch.setattr(compaction, "choose_features", lambda _rows: ())
                patch.setattr(compaction, "PARTS_PER_TABLE", 9)
            write(tmp_path, [record(number * 10 + n, features=row) for n in range(5)])
            compact_log(tmp_path, "m")
    compact_log(tmp_path, "m")
    table = only_table(tmp_path)
    assert table.name.endswith(".whole.parquet")
    assert kinds(table) == {"x": "number", "s": "text"}
    read = read_typed_features(table, 0, 15, [TableColumn("s", "string", True), *X])
    assert read is not None
    assert read[0].to_pylist() == [{"s": row["s"], "x": float(row["x"] or 0)} for row in given for _ in range(5)]
    assert [row[0] for row in PredictionLog(tmp_path).query_rows("m", 'SELECT features FROM log ORDER BY "at"')] == [
        json.dumps(row).replace(" ", "") for row in given for _ in range(5)
    ]


def test_a_footer_of_a_later_release_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Typed columns whose meaning this release does not know are not read: the JSON is."""
    monkeypatch.setattr(feature_columns, "_EDITION", 2)
    table = compacted(tmp_path, {"x": 1.5})
    monkeypatch.undo()
    assert pq.read_schema(table).names[-2:] == [FEATURE_PRESENT_COLUMN, "feature.x"]
    assert read_typed_features(table, 0, 1, X) is None


def test_a_torn_table_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that is no Parquet file stops its merge and its reading with one sentence that names it."""
    monkeypatch.setattr(compaction, "PARTS_PER_TABLE", 2)
    table = compacted(tmp_path, {"x": 1.5})
    table.write_bytes(b"PAR1 torn PAR1")
    with pytest.raises(OSError, match=f"{table.name} cannot be read: "):
        read_typed_features(table, 0, 1, X)
    write(tmp_path, [record(1)])
    with pytest.raises(EvidenceUnavailable, match="was not compacted, and nothing of it is lost"):
        compact_log(tmp_path, "m")
