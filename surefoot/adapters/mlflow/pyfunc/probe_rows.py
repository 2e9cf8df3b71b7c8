"""Generate rows that test whether a model's answers depend on other rows.

They are mixed of what the model carries (golden rows, its input example) and of values that fit its signature. Every
column that the signature types takes several values, for what an author keeps is often one row. Values repeat between
rows and some are missing: a model may look for either in its batch.
"""

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from surefoot.adapters.mlflow.pyfunc.column_casting import INTEGER_TYPES, NUMPY_NUMBER_TYPES, column_type_name
from surefoot.adapters.mlflow.pyfunc.model_inputs import ModelInputs
from surefoot.models.environments import json_codec

_ColumnNames = tuple[str | int | float, ...]
_PROBE_ROWS = 24
"""Rows that are made [count]."""
_MAX_PROBE_VALUES = 40_000
"""Most values of all rows together; large ones are fewer [count]."""
_EXAMPLE = "serving_input_example.json"
_FEW = 6
_POOLS: dict[str, list[object]] = {
    "boolean": [True, False],
    "string": ["a", "b", "cc", "Ünïön", "7"],
    "datetime": ["2013-07-01T08:30:00", "2013-07-02T00:00:00", "2014-12-31T23:59:59", "2020-02-29T12:00:00"],
    "binary": ["YQ==\n", "YmI=\n", "Y2Nj\n"],
}


def probe_rows(
    inputs: ModelInputs, path: Path | None, golden: Sequence[Mapping[str, object]]
) -> tuple[_ColumnNames | None, list[list[object]]]:
    """Rows of one table that differ from each other.

    Args:
        inputs: What the model's signature says.
        path: Its directory.
        golden: Rows that its author has kept with it.

    Returns:
        Columns, or None for bare rows; and the rows, none where nothing can be made up.
    """
    draw = random.Random(0)  # noqa: S311 - the same rows at every load
    names, base = _carried(path, golden)
    if not base:
        return _made_up(inputs, draw)
    mixed = _mixed(base, draw)
    varied = _varied(inputs, names, mixed, draw)
    # A slow model answers the first few alone: what differs most comes first.
    return names, _distinct([base[0], *varied[:_FEW], *base[1:_FEW], *varied[_FEW:], *mixed])


def _carried(
    path: Path | None, golden: Sequence[Mapping[str, object]]
) -> tuple[_ColumnNames | None, list[list[object]]]:
    if golden:
        columns = tuple(dict.fromkeys(name for row in golden for name in row))
        return columns, [[row.get(name) for name in columns] for row in golden]
    file = None if path is None else path / _EXAMPLE
    if file is None or not file.is_file():
        return None, []
    return _table(json_codec.loads(file.read_bytes()))


def _table(example: Any) -> tuple[_ColumnNames | None, list[list[object]]]:
    """The rows of an input example, in one of the forms in which MLflow keeps them."""
    if "dataframe_split" in example:
        split = example["dataframe_split"]
        return tuple(split["columns"]), [list(row) for row in split["data"]]
    if "dataframe_records" in example:
        return _carried(None, example["dataframe_records"])
    given = example.get("inputs", example.get("instances"))
    if isinstance(given, Mapping):
        return tuple(given), [list(cells) for cells in zip(*given.values(), strict=True)]
    if isinstance(given, list) and given and all(isinstance(row, Mapping) for row in given):
        return _carried(None, given)
    return None, list(given) if isinstance(given, list) else []


def _mixed(base: Sequence[Any], draw: random.Random) -> list[list[object]]:
    """Rows whose cells come from different rows, numbers moved a little now and then."""
    if not all(isinstance(row, list) and len(row) == len(base[0]) for row in base):
        return []
    made = []
    for _ in range(_PROBE_ROWS):
        row = [draw.choice(base)[place] for place in range(len(base[0]))]
        made.append([_moved(cell, draw) for cell in row])
    return made


def _varied(
    inputs: ModelInputs, names: _ColumnNames | None, rows: Sequence[list[object]], draw: random.Random
) -> list[list[object]]:
    """Rows in which columns of a known type take other values: in some rows each of them, in the others one."""
    specs = dict(zip(inputs.columns or (), inputs.specs, strict=False)) if not inputs.tensors else {}
    known = [
        (place, specs[name])
        for place, name in enumerate(names or ())
        if name in specs and column_type_name(specs[name])
    ]
    if not known or not rows:
        return []
    made = []
    for number in range(_PROBE_ROWS):
        row = list(rows[number % len(rows)])
        for place, spec in known if number < _FEW else [known[number % len(known)]]:
            row[place] = _other(row[place], spec, draw)
        made.append(row)
    return made


def _other(cell: object, spec: Any, draw: random.Random) -> object:
    """Another value of a column; now and then none, where it may be missing."""
    kind = column_type_name(spec)
    if not spec.required and kind not in INTEGER_TYPES and draw.random() < 0.25:  # noqa: PLR2004 - a quarter of them
        return None
    if kind in INTEGER_TYPES and isinstance(cell, int) and draw.random() < 0.5:  # noqa: PLR2004 - half of them
        return cell + draw.randrange(1, 9)
    if kind == "string" and isinstance(cell, str) and draw.random() < 0.5:  # noqa: PLR2004 - half of them
        return f"{cell}{draw.choice('abc')}"
    return not cell if kind == "boolean" else _value(kind, draw)


def _moved(cell: object, draw: random.Random) -> object:
    if isinstance(cell, list):
        return [_moved(item, draw) for item in cell]
    if isinstance(cell, float) and math.isfinite(cell) and draw.random() < 0.5:  # noqa: PLR2004 - half of them
        return cell * draw.uniform(0.5, 1.5) + draw.choice([0.0, 0.1])
    return cell


def _made_up(inputs: ModelInputs, draw: random.Random) -> tuple[_ColumnNames | None, list[list[object]]]:
    """Rows that fit a signature."""
    if not inputs.signed or inputs.hinted:
        return None, []
    if inputs.tensors:
        return _tensors(inputs, draw)
    kinds = [column_type_name(spec) for spec in inputs.specs]
    if any(not kind and spec.required for kind, spec in zip(kinds, inputs.specs, strict=True)):
        return None, []  # nested: nobody knows what is to be in it
    width = max(len(kinds), 1)
    rows: list[list[object]] = [
        [_value(kind, draw) for kind in kinds] for _ in range(max(_FEW, min(_PROBE_ROWS, _MAX_PROBE_VALUES // width)))
    ]
    # A row and its negative: whatever a linear model weighs, it answers differently to the two.
    rows = [one for row in rows[: len(rows) // 2] for one in (row, [_negative(cell) for cell in row])]
    # Some rows lack one value, and the last one all that may be missing: a model may fill gaps from its batch.
    gaps = [
        place
        for place, (kind, spec) in enumerate(zip(kinds, inputs.specs, strict=True))
        if kind not in INTEGER_TYPES and not (kind == "boolean" and spec.required)
    ]
    for row, place in zip(rows[-_FEW:-1], draw.sample(gaps, len(gaps)), strict=False):
        row[place] = None
    for place in gaps:
        rows[-1][place] = None
    return inputs.columns, _distinct(rows)


def _value(kind: str, draw: random.Random) -> object:
    if kind in INTEGER_TYPES:
        return draw.choice([0, 1, 2, 3, 7, 40, draw.randrange(100)])
    if kind in NUMPY_NUMBER_TYPES:
        return draw.choice([0.0, 1.0, -1.5, 3.25, draw.gauss(0.0, 3.0), draw.gauss(0.0, 3.0), draw.gauss(0.0, 50.0)])
    return draw.choice(_POOLS.get(kind, [None]))


def _negative(cell: object) -> object:
    return -cell if isinstance(cell, float) and cell else cell


def _tensors(inputs: ModelInputs, draw: random.Random) -> tuple[_ColumnNames | None, list[list[object]]]:
    """Rows of one or more arrays; the first size of each is that of the batch."""
    shapes = [tuple(2 if size < 0 else size for size in spec.shape[1:]) for spec in inputs.specs]
    count = max(_FEW, min(_PROBE_ROWS, _MAX_PROBE_VALUES // max(sum(map(math.prod, shapes)), 1)))

    def rows(place: int) -> list[Any]:
        kind = inputs.specs[place].type.kind
        return [_array(shapes[place], kind, draw) for _ in range(count)]

    if inputs.columns is None:
        return None, rows(0)
    return inputs.columns, [list(cells) for cells in zip(*map(rows, range(len(shapes))), strict=True)]


def _array(shape: tuple[int, ...], kind: str, draw: random.Random) -> Any:
    if shape:
        return [_array(shape[1:], kind, draw) for _ in range(shape[0])]
    if kind in "iu":
        return draw.randrange(10)
    if kind == "b":
        return draw.random() < 0.5  # noqa: PLR2004 - half of them
    return draw.gauss(0.0, 1.0) if kind == "f" else draw.choice(["a", "b", "cc"])


def _distinct(rows: list[Any]) -> list[Any]:
    """Each row once."""
    return list({repr(row): row for row in rows}.values())
