"""Models that pass for row-wise on what their author keeps with them, and are found out by other values."""

import warnings
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature, infer_signature
from mlflow.pyfunc.model import PythonModel
from mlflow.types.schema import ColSpec, Schema

from surefoot.adapters.mlflow.pyfunc.pyfunc_scorer import PyfuncScorer
from surefoot.models.rows.independence import RowIndependence
from tests.sweeps import in_turns

CARRIED = pd.DataFrame({"carrier": ["AA"], "dist": [500.0], "qty": [3], "late": [True]})


def codes(frame: pd.DataFrame) -> object:
    """Category codes count from the categories of the batch."""
    return (frame["carrier"].astype("category").cat.codes * 100.0 + frame["dist"] / 1000).to_numpy()


def centred(frame: pd.DataFrame) -> object:
    """Whole numbers are centred by the mean of the batch."""
    return (frame["dist"] * 0.001 + (frame["qty"] - frame["qty"].mean()) * 10).to_numpy()


def share(frame: pd.DataFrame) -> object:
    """Truth values are compared with the share of the batch."""
    return (frame["dist"] * 0.001 + frame["late"].mean() * 10).to_numpy()


def inverted(frame: pd.DataFrame) -> object:
    """A truth value that is missing beside others changes the type of their column."""
    return (frame["dist"] * 0.001 + (~frame["late"].fillna(False)).astype(float) * 100).to_numpy()


def by_output(frame: pd.DataFrame) -> object:
    """Two outputs, one array each: for two rows this looks like two answers."""
    return np.array([frame["dist"], frame["dist"] * 10])


def lists_by_output(frame: pd.DataFrame) -> object:
    """The same as lists."""
    return frame["dist"].tolist(), (frame["dist"] * 10).tolist()


def scorer(
    folder: Path, answer: Callable[[pd.DataFrame], object], example: pd.DataFrame | None, signature: ModelSignature
) -> PyfuncScorer:
    """A saved and loaded model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")

        class Model(PythonModel):
            def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - MLflow warns about types it does not know
                return answer(model_input)

        kept = {} if example is None else {"input_example": example}
        mlflow.pyfunc.save_model(str(folder / "m"), python_model=Model(), signature=signature, **kept)
        made = PyfuncScorer(mlflow.pyfunc.load_model(str(folder / "m")), folder / "m")
    made.warm()
    return made


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("model", in_turns([codes, centred, share], lambda model: model is codes))
def test_an_example_of_equal_rows_hides_nothing(
    tmp_path: Path, model: Callable[[pd.DataFrame], object], rows: int
) -> None:
    """Columns that do not vary in what a model carries vary in its probes, whatever their type."""
    example = pd.concat([CARRIED] * rows, ignore_index=True)
    made = scorer(tmp_path, model, example, infer_signature(example, [1.0]))
    assert made.probe().batching is RowIndependence.BATCH_DEPENDENT


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("example", [None, CARRIED[["dist", "late"]]], ids=["nothing carried", "an example"])
def test_a_missing_truth_value_is_among_the_probes(tmp_path: Path, example: pd.DataFrame | None) -> None:
    """A column of truth values that may be missing is probed with a gap."""
    signature = ModelSignature(Schema([ColSpec("double", "dist"), ColSpec("boolean", "late", required=False)]), None)
    made = scorer(tmp_path, inverted, example, signature)
    assert made.probe().batching is RowIndependence.BATCH_DEPENDENT


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("model", [by_output, lists_by_output])
def test_outputs_are_never_taken_for_rows(tmp_path: Path, model: Callable[[pd.DataFrame], object]) -> None:
    """A model that gives two answers for one row is refused for two rows as well, whichever is asked first."""
    made = scorer(tmp_path, model, None, ModelSignature(Schema([ColSpec("double", "dist")]), None))
    two: list[dict[str, object]] = [{"dist": 1.0}, {"dist": 2.0}]
    for rows, said in ((two, "several answers for one row"), (two[:1], "2 answers for 1 rows"), (two, "several")):
        with pytest.raises(ValueError, match=said):
            made.predict(rows)
