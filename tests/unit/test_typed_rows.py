"""Logged rows become a table of a model's types only where the model would be fed the same values row by row."""

import json

import pyarrow as pa
import pytest

from surefoot.adapters.feature_tables import json_row_parsing
from surefoot.adapters.feature_tables.json_row_parsing import parse_json_rows
from surefoot.models.model_protocols import TableColumn

COLUMNS = [
    TableColumn("x", "double", True),
    TableColumn("n", "long", True),
    TableColumn("small", "integer", True),
    TableColumn("f", "float", False),
    TableColumn("yes", "boolean", True),
    TableColumn("s", "string", False),
]
GOOD: dict[str, object] = {"x": 1.5, "n": 3, "small": 4, "f": 0.5, "yes": True, "s": "a"}


@pytest.mark.parametrize(
    "odd",
    [
        {**GOOD, "x": "1.5"},
        {**GOOD, "x": True},
        {**GOOD, "x": [1.5]},
        {**GOOD, "n": 3.0},
        {**GOOD, "n": None},
        {**GOOD, "n": 2**63},
        {**GOOD, "small": 2**31},
        {**GOOD, "f": 1e39},
        {**GOOD, "yes": 1},
        {**GOOD, "s": 7},
        {key: value for key, value in GOOD.items() if key != "x"},
        [1.5, 3],
        None,
    ],
    ids=str,
)
def test_a_row_with_another_kind_of_value_is_left_out(odd: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value of another type than its column's, out of its range, or missing where it must be, leaves its row out."""
    monkeypatch.setattr(json_row_parsing, "MIN_PARSED_ROWS", 1)
    rows = pa.array([json.dumps(GOOD), None if odd is None else json.dumps(odd), json.dumps(GOOD)])
    table, places = parse_json_rows(rows, COLUMNS)
    assert places.tolist() == [0, 2]
    assert table.to_pylist() == [GOOD, GOOD]


def test_what_fits_is_read_as_it_was_written() -> None:
    """Whole numbers fill columns of fractions, null and absence are one in an optional column, the rest is ignored."""
    given = [
        {**GOOD, "x": 1},
        {**GOOD, "x": None},
        {key: value for key, value in GOOD.items() if key not in {"f", "s"}},
        {**GOOD, "s": 'é "\n\\', "another": {"deep": [1, {}]}},
    ]
    table, places = parse_json_rows(pa.array([json.dumps(row) for row in given]), COLUMNS)
    assert places.tolist() == [0, 1, 2, 3]
    assert table.column("x").to_pylist() == [1.0, None, 1.5, 1.5]
    assert table.column("f").to_pylist() == [0.5, 0.5, None, 0.5]
    assert table.column("s").to_pylist() == ["a", "a", None, 'é "\n\\']


def test_many_odd_rows_end_the_search_early() -> None:
    """A part that cannot be read is split only as long as the search pays; no row is lost or doubled."""
    rows = [{**GOOD, "x": "odd" if place % 40 == 0 else float(place)} for place in range(1000)]
    table, places = parse_json_rows(pa.array([json.dumps(row) for row in rows]), COLUMNS)
    assert len(set(places.tolist())) == table.num_rows
    assert table.column("x").to_pylist() == [float(place) for place in places]
    assert not any(place % 40 == 0 for place in places)
