"""Save the models that every server serves, and build the requests that they are sent."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from surefoot.demo.flight_requests import NUMBER_FEATURES, TEXT_FEATURES

COLUMNS = tuple(f"x{number}" for number in range(20))
_FLIGHTS = "flights"
_PLACES = ("ATL", "BOS", "CLT", "DEN", "EWR", "FLL", "JFK", "LAX", "LGA", "MCO", "ORD", "SFO")

BodyBuilder = Callable[[str, int], str]
"""Makes a request for a model with so many rows."""


def save_models(root: Path) -> None:
    """The pipelines: numbers, the same with one optional column (which keeps MLflow's checks), a forest, and texts."""
    import mlflow.sklearn  # noqa: PLC0415 - the parent of the servers needs it once
    from mlflow.models import infer_signature  # noqa: PLC0415 - same
    from mlflow.types import ColSpec, Schema  # noqa: PLC0415 - same
    from sklearn.compose import ColumnTransformer  # noqa: PLC0415 - same
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415 - same
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - same
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415 - same
    from sklearn.preprocessing import OneHotEncoder, StandardScaler  # noqa: PLC0415 - same

    frame = _rows_of("numeric", 2000, seed=0)
    late = (frame.sum(axis=1) > 0.0).astype(int)
    flights = _rows_of(_FLIGHTS, 2000, seed=0)
    delayed = (flights[list(NUMBER_FEATURES)].sum(axis=1) + (flights["origin"] == "EWR") > 0.0).astype(int)
    encoded = ColumnTransformer(
        [
            ("text", OneHotEncoder(handle_unknown="ignore"), list(TEXT_FEATURES)),
            ("numbers", StandardScaler(), list(NUMBER_FEATURES)),
        ]
    )
    signature = infer_signature(frame)
    loose = infer_signature(frame)
    loose.inputs = Schema([ColSpec("double", name, required=name != COLUMNS[-1]) for name in COLUMNS])
    made = {
        "numeric": (make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, late), signature),
        "checked": (make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, late), loose),
        "forest": (RandomForestClassifier(100, random_state=0, n_jobs=1).fit(frame, late), signature),
        _FLIGHTS: (make_pipeline(encoded, LogisticRegression()).fit(flights, delayed), infer_signature(flights)),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, (model, known) in made.items():
            mlflow.sklearn.save_model(
                model, str(root / name), signature=known, serialization_format="cloudpickle",
                pip_requirements=["scikit-learn"],
            )  # fmt: skip


def _rows_of(model: str, rows: int, seed: int = 1) -> pd.DataFrame:
    """Inputs of a model."""
    rng = np.random.default_rng(seed)
    columns = NUMBER_FEATURES if model == _FLIGHTS else COLUMNS
    frame = pd.DataFrame(rng.normal(size=(rows, len(columns))).round(4), columns=list(columns))
    if model == _FLIGHTS:
        for place, name in enumerate(TEXT_FEATURES):
            frame.insert(place, name, rng.choice(_PLACES, rows))
    return frame


def input_kind_of(model: str) -> str:
    """What a pipeline takes when nothing stands before it."""
    return "frame" if model == _FLIGHTS else "array"


def compute_expected_answers(root: Path, model: str, rows: int) -> list[float]:
    """What every server has to answer."""
    import mlflow.sklearn  # noqa: PLC0415 - as above

    return [float(one) for one in mlflow.sklearn.load_model(str(root / model)).predict(_rows_of(model, rows))]


def split_body(model: str, rows: int) -> str:
    """MLflow's protocol."""
    frame = _rows_of(model, rows)
    return json.dumps({"dataframe_split": {"columns": list(frame.columns), "data": frame.to_numpy().tolist()}})


def tensor_body(model: str, rows: int) -> str:
    """The Open Inference Protocol: one tensor, or one a column where there are texts."""
    frame = _rows_of(model, rows)
    if model != _FLIGHTS:
        data = frame.to_numpy().ravel().tolist()
        return json.dumps({"inputs": [{"name": "x", "shape": list(frame.shape), "datatype": "FP64", "data": data}]})
    columns = [
        {"name": name, "shape": [rows, 1], "datatype": kind, "data": frame[name].tolist(), "parameters": parameters}
        for names, kind, parameters in (
            (TEXT_FEATURES, "BYTES", {"content_type": "str"}),
            (NUMBER_FEATURES, "FP64", {}),
        )
        for name in names
    ]
    return json.dumps({"parameters": {"content_type": "pd"}, "inputs": columns})


def rows_body(model: str, rows: int) -> str:
    """A bare list of rows; with names where there are texts."""
    frame = _rows_of(model, rows)
    return json.dumps({"rows": frame.to_dict("records") if model == _FLIGHTS else frame.to_numpy().tolist()})


def write_wrk_script(folder: Path, rows: int, model: str = "numeric", body: BodyBuilder = split_body) -> Path:
    """What wrk sends."""
    path = folder / f"{model}-{rows}-{body.__name__}.lua"
    text = body(model, rows)
    path.write_text(f"wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = [=[{text}]=]\n")
    return path
