"""The body of a scoring request, without a gateway around it."""

import codecs
import json

import orjson
import pytest

from surefoot.core.domain import Split, Version
from surefoot.gateway.http.scoring_body import MalformedBody, RequestTable, decode_table
from surefoot.gateway.inference.request_assignment import new_request
from surefoot.gateway.log.prediction_log_writer import prediction_lines
from surefoot.gateway.log.scoring_request import ScoringRequest
from surefoot.models.model_protocols import NO_OPTIONS, ColumnNames, RequestOptions

ROW = {"x": 1.5, "w": "a"}


def read(body: object) -> RequestTable:
    """The table of a JSON body, or of bytes as they are."""
    return decode_table(body if isinstance(body, bytes) else json.dumps(body).encode(), "application/json")


def job(
    names: ColumnNames, values: list[list[object]], column: str | None = None, options: RequestOptions = NO_OPTIONS
) -> ScoringRequest:
    """A request's job."""
    return new_request(
        Split(Version("1", "sha256:1"), None, 0.0, "salt", "", 1),
        model="m",
        request="r",
        names=names,
        values=values,
        column=column,
        at=0.0,
        started=0.0,
        options=options,
    )


def test_nan_is_missing_and_stays_what_it_is_in_texts() -> None:
    """A bare NaN is null; in a text, a key, or next to escaped quotes the letters are letters."""
    rows = [{"x": float("nan"), "NaN": 'NaN "NaN" \\'}, {"x": 2.0, "NaN": '\\" NaN'}]
    table = read({"dataframe_records": rows})
    assert table == RequestTable(("x", "NaN"), [[None, 'NaN "NaN" \\'], [2.0, '\\" NaN']])


@pytest.mark.parametrize("literal", ["Infinity", "-Infinity", "-NaN", "1NaN", "NaNN", "nan", "1e999", '"\\ud800"'])
def test_beside_nan_nothing_more_is_read_than_without(literal: str) -> None:
    """What is no JSON stays none when the body holds a NaN as well."""
    for cells in (literal, f"NaN, {literal}"):
        with pytest.raises(MalformedBody, match="not JSON"):
            read(f'{{"inputs": [{cells}]}}'.encode())


def test_an_open_text_is_looked_through_once() -> None:
    """Millions of quotes that close nothing are no work; the body is refused."""
    for tail in (b'\\"' * 2_000_000, b'\\"' * 2_000_000 + b"\\"):
        with pytest.raises(MalformedBody, match="not JSON"):
            read(b'{"inputs": [NaN, "' + tail)


def test_a_byte_order_mark_is_nothing() -> None:
    """A body is the same with and without one, with and without a NaN."""
    for body in (b'{"inputs": [{"x": 1}]}', b'{"inputs": [{"x": NaN}]}'):
        assert read(codecs.BOM_UTF8 + body) == read(body)


@pytest.mark.parametrize("nothing", [None, {}])
def test_empty_params_are_none(nothing: object) -> None:
    """A request with empty params shares its batch with those without."""
    assert read({"inputs": [ROW], "params": nothing}).options == read({"inputs": [ROW]}).options == NO_OPTIONS


def test_params_are_alike_only_when_they_are_the_same_json() -> None:
    """1, 1.0, true and "1" are four things, although three are equal in Python."""
    options_of = [read({"inputs": [ROW], "params": {"a": value}}).options for value in (1, 1.0, True, "1")]
    assert len(set(options_of)) == 4
    assert [options.arguments() for options in options_of[:2]] == [({"a": 1}, False), ({"a": 1.0}, False)]
    assert read({"inputs": [ROW], "params": {"a": 1}}).options == options_of[0]


def test_params_that_are_nested_too_deeply_are_refused() -> None:
    """What can be read but not handed on is the caller's mistake."""
    with pytest.raises(MalformedBody, match="cannot be handed on"):
        read(b'{"inputs": [1], "params": ' + b"[" * 500 + b"]" * 500 + b"}")


@pytest.mark.parametrize("key", ["client_request_id", "signature_name"])
def test_what_mlflow_ignores_is_ignored(key: str) -> None:
    """A client's own id, and the name of a signature, change nothing."""
    assert read({"inputs": [ROW], key: "a"}) == read({"inputs": [ROW]})


@pytest.mark.parametrize("index", [[1], [1, 2, 3], 7, "ab", {"a": 1, "b": 2}])
def test_an_index_has_a_label_for_each_row(index: object) -> None:
    """An index of another length, or that is none, is refused."""
    with pytest.raises(MalformedBody, match="index is a list with a label for each row"):
        read({"dataframe_split": {"columns": ["x"], "data": [[1], [2]], "index": index}})


@pytest.mark.parametrize("columns", [["x", 1, "1"], [0, 0], ["a", "a"], [1, 1.0]])
def test_columns_that_the_log_could_not_tell_apart_are_refused(columns: list[object]) -> None:
    """Two columns of one name are refused, and so are a number and its text."""
    with pytest.raises(MalformedBody, match="twice"):
        read({"dataframe_split": {"columns": columns, "data": [[1] * len(columns)]}})


@pytest.mark.parametrize("columns", [[None], [["x"]], [True], "x", {"x": 1}])
def test_columns_are_texts_or_numbers(columns: object) -> None:
    """Anything else is no list of names."""
    with pytest.raises(MalformedBody, match="list of names"):
        read({"dataframe_split": {"columns": columns, "data": [[1]]}})


def test_a_scalar_beside_columns_is_in_every_row() -> None:
    """What is no list is repeated, null as well; and an object among columns makes one row of all."""
    for name in ("inputs", "instances"):
        assert read({name: {"x": [1, 2], "y": 3, "z": None}}) == RequestTable(
            ("x", "y", "z"), [[1, 3, None], [2, 3, None]]
        )
        assert read({name: {"x": [1, 2], "y": {"a": 1}}}) == RequestTable(("x", "y"), [[[1, 2], {"a": 1}]])


@pytest.mark.parametrize("name", ["dataframe_records", "instances", "inputs"])
def test_a_small_body_does_not_become_a_large_table(name: str) -> None:
    """Rows of ever different columns are refused before there is a cell for each, with the limit and the way out."""
    rows = [{f"k{number}": 1} for number in range(1500)]
    with pytest.raises(
        MalformedBody, match=r"1500 columns in all and leave 2248500 cells empty, of at most 209715 .*; send"
    ):
        read({name: rows})


@pytest.mark.parametrize("cell", ["x" * 10_000, 1, None])
def test_a_scalar_is_not_copied_without_end(cell: object) -> None:
    """What stands in every row is counted in every row, before it is put there."""
    body = {"x": [1] * 3000, **{f"c{number}": cell for number in range(1 if isinstance(cell, str) else 1000)}}
    with pytest.raises(MalformedBody, match=r"in each of its 3000 rows, .* of at most 1048576 for a body of .*; send"):
        read({"inputs": body})


def test_large_tables_that_hold_what_they_say_are_read() -> None:
    """Bodies near the limit pass: a dense table, rows that leave most columns empty, columns with some scalars."""
    dense = {"columns": [f"c{number}" for number in range(20)], "data": [[1.5] * 20] * 100_000}
    assert len(read(orjson.dumps({"dataframe_split": dense})).values) == 100_000
    sparse = [{f"c{(first + number) % 40}": 1 for number in range(8)} for first in range(40_000)]
    assert len(read(orjson.dumps({"dataframe_records": sparse})).values[0]) == 40
    columns = {"x": [1.25] * 300_000, "country": "DE", "currency": "EUR", "channel": None}
    assert read(orjson.dumps({"inputs": columns})).values[-1] == [1.25, "DE", "EUR", None]


def test_columns_without_names_are_texts_in_the_log() -> None:
    """Columns by number reach the model as numbers, and the log and the unit's column as texts."""
    names, values, _ = read({"dataframe_split": {"data": [[1.5, "N1"], [2.5, "N2"]]}})
    assert names == (0, 1)
    made = job(names, values, column="1")
    assert made.unit == "N1"
    assert [orjson.loads(line)["features"] for line in prediction_lines(made, [0, 1], "1")] == [
        {"0": 1.5, "1": "N1"},
        {"0": 2.5, "1": "N2"},
    ]


def test_the_log_holds_the_params() -> None:
    """The params of a request stand in the record of each of its rows as they were sent; null without any."""
    rows: list[list[object]] = [[1], [2]]
    for options, params in (
        (RequestOptions(b'{"a":1.0}'), {"a": 1.0}),
        (NO_OPTIONS, None),
        (RequestOptions(csv=True), None),
    ):
        lines = prediction_lines(job(("x",), rows, options=options), [0, 1], "1")
        assert [orjson.loads(line)["params"] for line in lines] == [params] * 2
