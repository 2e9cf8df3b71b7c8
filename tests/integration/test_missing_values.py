"""A missing value is one, in every format and for every type: null, NaN and left out."""

import json
import warnings

import pandas as pd
import pytest
from mlflow.types import TensorSpec

from surefoot.adapters.mlflow.artifacts import load_model_directory
from surefoot.adapters.mlflow.pyfunc.pyfunc_scorer import PyfuncScorer
from surefoot.gateway.http import scoring_body, tensors

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns about its own type hints when it is imported
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.pyfunc.model import PythonModel
    from mlflow.types import ColSpec, DataType, Schema

KINDS = {
    "double": "FP64",
    "float": "FP32",
    "long": "INT64",
    "integer": "INT32",
    "boolean": "BOOL",
    "string": "BYTES",
    "datetime": "BYTES",
    "binary": "BYTES",
}


def shown(frame: pd.DataFrame) -> list[str]:
    """What a model sees of each row."""
    seen = {name: ["missing" if pd.isna(value) else str(value) for value in frame[name]] for name in frame.columns}
    return [json.dumps({name: cells[row] for name, cells in seen.items()}) for row in range(len(frame))]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> PyfuncScorer:
    """A model with an optional input of every type, which answers what it sees."""

    class Model(PythonModel):
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - MLflow warns about types it does not know
            return shown(model_input)

    path = tmp_path_factory.mktemp("missing") / "model"
    columns: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.double, "x"),
        *(ColSpec(DataType[kind], kind, required=False) for kind in KINDS),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice to those who save a model
        mlflow.pyfunc.save_model(
            str(path), python_model=Model(), signature=ModelSignature(Schema(columns)), pip_requirements=["pandas"]
        )
    return load_model_directory(path)


def as_rows(kind: str, said: str) -> bytes:
    """A scoring request whose input of one type is missing in one of the ways."""
    more = "" if said == "left out" else f', "{kind}": {said}'
    return b'{"dataframe_records": [{"x": 1.0' + more.encode() + b"}]}"


def as_tensors(kind: str, said: str) -> bytes:
    """The same for the Open Inference Protocol."""
    x = '{"name": "x", "shape": [1], "datatype": "FP64", "data": [1.0]}'
    more = f', {{"name": "{kind}", "shape": [1], "datatype": "{KINDS[kind]}", "data": [{said}]}}'
    return b'{"inputs": [' + x.encode() + (b"" if said == "left out" else more.encode()) + b"]}"


@pytest.mark.parametrize("kind", KINDS)
def test_all_ways_to_say_nothing_are_one(scorer: PyfuncScorer, kind: str) -> None:
    """A model sees the same row whether a value is null, NaN or left out, as rows or as tensors."""
    seen = set()
    for said in ("null", "NaN", "left out"):
        for table in (
            scoring_body.decode_table(as_rows(kind, said), "application/json"),
            tensors.read_tensors(as_tensors(kind, said))[0],
        ):
            (row,) = scorer.answer(table.names, table.values, None, csv=table.options.csv)
            seen.add(str(json.loads(str(row)).get(kind, "missing")))
    assert seen == {"missing"}
