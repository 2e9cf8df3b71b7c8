"""A model that is asked for whole tables gives every row the answer that it gives to the row by itself."""

import itertools
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from surefoot.adapters.feature_tables.json_row_parsing import parse_json_rows
from surefoot.adapters.mlflow.pyfunc.pyfunc_scorer import PyfuncScorer
from surefoot.adapters.replay.answer_columns import answer_values
from surefoot.models.arrow_stream import decode_table, encode_table
from surefoot.models.model_protocols import TableColumn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns about its own type hints when it is imported
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.pyfunc.model import PythonModel
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

SPECS: "list[ColSpec | TensorSpec]" = [
    ColSpec(DataType.double, "x"),
    ColSpec(DataType.double, "maybe", required=False),
    ColSpec(DataType.long, "n"),
    ColSpec(DataType.integer, "small"),
    ColSpec(DataType.float, "f"),
    ColSpec(DataType.boolean, "yes"),
    ColSpec(DataType.string, "s", required=False),
    ColSpec(DataType.datetime, "when", required=False),
]
VALUES: dict[str, list[object]] = {
    "x": [0.1, 7, -1e300, None, 2**60],
    "maybe": [None, 0.5, 3],
    "n": [0, -5, 2**53 + 1],
    "small": [1, -(2**31)],
    "f": [0.1, 3, None],
    "yes": [True, False, None],
    "s": ["a", "", None, "NaN", "é\n"],
    "when": ["2013-06-01T12:00:00", "2013-06-01T12:00:00.123456+02:00", None],
}


def described(frame: pd.DataFrame) -> list[str]:
    """What the model was fed, cell by cell, with its type."""
    cells = zip(*(frame[name].tolist() for name in frame.columns), strict=True)
    kinds = [str(kind) for kind in frame.dtypes]
    return [repr((kinds, row)) for row in cells]


ANSWERS: dict[str, Callable[[pd.DataFrame], object]] = {
    "numbers": lambda frame: frame["n"].to_numpy() * 0.1,
    "single precision": lambda frame: (frame["n"] * 0.1).to_numpy(np.float32),
    "whole numbers": lambda frame: frame["small"].to_numpy(),
    "truth values": lambda frame: (frame["small"] > 0).to_numpy(),
    "a series": lambda frame: frame["n"] * 0.5,
    "texts": lambda frame: np.where(frame["small"] > 0, "late", "punctual"),
    "probabilities": lambda frame: np.stack([frame["small"] > 0, frame["small"] <= 0], axis=1).astype(float),
    "what it was fed": lambda frame: np.array(described(frame), dtype=object),
    "a frame": lambda frame: pd.DataFrame({"p": frame["n"] * 0.5, "q": frame["small"]}),
    "lists": lambda frame: [[float(n), 1.0, 2.0] for n in frame["n"]],
}


def saved(path: Path, answer: Callable[[pd.DataFrame], object]) -> PyfuncScorer:
    """A model that answers with a function of what it is fed."""

    class Model(PythonModel):
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - MLflow warns about types it does not know
            return answer(model_input)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice to the author of a model
        signature = ModelSignature(inputs=Schema(SPECS))
        mlflow.pyfunc.save_model(str(path), python_model=Model(), signature=signature, pip_requirements=["pandas"])
        return PyfuncScorer(mlflow.pyfunc.load_model(str(path)), path)


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_table_is_answered_as_its_rows_are(kind: str, tmp_path: Path) -> None:
    """Whatever the type of input, missing values among them, and the form of answer: table and rows agree exactly."""
    scorer = saved(tmp_path / "model", ANSWERS[kind])
    columns = [TableColumn(*column) for column in scorer.table_columns()]
    assert [column.name for column in columns] == list(VALUES)
    cycles = {name: itertools.cycle(values) for name, values in VALUES.items()}
    rows: list[dict[str, object]] = [{name: next(cycle) for name, cycle in cycles.items()} for _ in range(120)]
    for place, row in enumerate(rows):
        if place % 7 == 0:
            del row["maybe"], row["s"]
    table, places = parse_json_rows(pa.array([json.dumps(row) for row in rows]), columns)
    assert len(places) == len(rows)
    found = scorer.predict_table(encode_table(table))
    if kind in {"a frame", "lists"}:  # forms that have no column: the asker falls back to rows
        assert found is None
        return
    assert found is not None
    answers = answer_values(decode_table(found).column(0).combine_chunks())
    assert answers == scorer.predict([dict(row) for row in rows])
