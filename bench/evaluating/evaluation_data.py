"""Prepare the data of an evaluation: two versions of the flights model, and a log of repeated flights."""

import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import orjson
import pandas as pd
from mlflow.models import infer_signature
from mlflow.pyfunc.model import PythonModel

from bench.flights_models import CandidateTrainer
from surefoot.adapters.mlflow.artifacts import directory_digest
from surefoot.adapters.predictions.compaction import compact_log
from surefoot.core.domain import Version
from surefoot.demo.flight_requests import FEATURES, UNIT_COLUMN

MODEL = "flights-late"
_YEAR_S = 365.0 * 86_400.0
_SEGMENT_ROWS = 300_000
"""Rows of one segment of the log [count]."""
_SERVED_BY = "0"
"""The version that answered live: neither of the two, so that both are asked about every row."""


class CheapModel(PythonModel):
    """Takes about 1 us a row: what is left of the time is the evaluation's own."""

    def __init__(self, shift: float) -> None:
        self.shift = shift

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, ARG002 - as MLflow wants it, without types
        """Give a probability that depends on two features."""
        hour, distance = model_input["hour"].to_numpy(), model_input["distance"].to_numpy()
        return np.clip(0.1 + hour / 60.0 + distance / 50_000.0 + self.shift, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class EvaluationData:
    """Versions and requests.

    Attributes:
        folder: Holds everything.
        versions: Champion and candidate; the artifacts are in the folders of their numbers.
        requests: One year of flights, with labels.
    """

    folder: Path
    versions: tuple[Version, Version]
    requests: pd.DataFrame

    def log(self, rows: int, *, lines: bool) -> Path:
        """Write a log of so many rows, as lines or compacted; the year's flights are repeated."""
        root = self.folder / f"log-{'lines' if lines else 'parquet'}-{rows}"
        if root.exists():
            return root
        (root / MODEL).mkdir(parents=True)
        for first in range(0, rows, _SEGMENT_ROWS):
            self._segment(root / MODEL, first, min(rows, first + _SEGMENT_ROWS))
            if not lines:  # as it comes: a log of millions of lines takes as many gigabytes
                compact_log(root, MODEL)
        return root

    def add_segment(self, root: Path, first: int, last: int) -> None:
        """Write requests and labels from one row to another to a log that is there, as lines."""
        self._segment(root / MODEL, first, last)

    def frame(self, first: int, last: int) -> pd.DataFrame:
        """Requests from one row to another, the year repeated."""
        rows = np.arange(first, last)
        some = self.requests.iloc[rows % len(self.requests)].reset_index(drop=True)
        later = (rows // len(self.requests)) * _YEAR_S
        return some.assign(
            at=some["at"] + later,
            label_at=np.where(some["label_at"].isna(), some["at"] + 10_800.0, some["label_at"]) + later,
            id=[f"r{row:09d}" for row in rows],
        )

    def _segment(self, folder: Path, first: int, last: int) -> None:
        frame = self.frame(first, last)
        with (folder / f"predictions-1-{first}.jsonl").open("wb") as file:
            file.writelines(_request_lines(frame))
        known = frame[frame["late"].notna()]
        with (folder / f"labels-1-{first}.jsonl").open("wb") as file:
            for name, late, at in zip(known["id"], known["late"], known["label_at"], strict=True):
                told = {"v": 1, "request": name, "row": 0, "label": int(late), "at": at, "received": at}
                file.write(orjson.dumps(told) + b"\n")


def _request_lines(frame: pd.DataFrame) -> Iterator[bytes]:
    """Lines as the gateway writes them."""
    served = {"v": 1, "row": 0, "model": MODEL, "arm": "champion", "version": _SERVED_BY, "answered_by": _SERVED_BY}
    served |= {"weight": 0.0, "generation": 1, "rollout": "", "latency_ms": 3.21, "cpu_ms": 0.41, "rss_mb": 212.5}
    rows = frame[list(FEATURES)].astype(object).where(frame[list(FEATURES)].notna(), None).to_numpy().tolist()
    for name, at, unit, cells in zip(frame["id"], frame["at"], frame[UNIT_COLUMN], rows, strict=True):
        record = {**served, "request": name, "at": at, "unit": unit if isinstance(unit, str) else None, "error": None}
        record |= {"prediction": [0.8, 0.2], "features": dict(zip(FEATURES, cells, strict=True)), "model_ms": 0.4}
        yield orjson.dumps({**record, "batch": 1}) + b"\n"


def prepare_data(folder: Path, cache: Path, *, cheap: bool = False) -> EvaluationData:
    """Train and save both versions, or read them from an earlier run.

    Args:
        folder: Where everything goes.
        cache: Parquet file of the flights; built when it is missing.
        cheap: Whether the versions are those that take 1 us a row.
    """
    shop = CandidateTrainer(cache)
    requests = shop.requests
    example = requests[list(FEATURES)].head(2000)
    names = ("cheap-1", "cheap-2") if cheap else ("1", "2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice to the author of a model
        for name, trees, shift in zip(names, (60, 120), (0.0, 0.001), strict=True):
            if (folder / name / "MLmodel").is_file():
                continue
            if cheap:
                model = CheapModel(shift)
                signature = infer_signature(example, np.zeros(2))
                mlflow.pyfunc.save_model(
                    str(folder / name), python_model=model, signature=signature, pip_requirements=["pandas"]
                )
                continue
            trained = shop.train(trees)
            mlflow.sklearn.save_model(
                trained,
                str(folder / name),
                signature=infer_signature(example, trained.predict_proba(example)),
                pyfunc_predict_fn="predict_proba",
                serialization_format="cloudpickle",
                pip_requirements=["scikit-learn", "pandas"],
            )
    first, second = (Version(name, directory_digest(folder / name)) for name in names)
    return EvaluationData(folder, (first, second), requests)


def write_result_rows(path: Path | None, rows: Sequence[dict[str, object]]) -> None:
    """Write the rows of a bench, where that is wanted."""
    if path:
        path.write_text(json.dumps({"rows": list(rows)}, indent=2) + "\n", encoding="utf-8")
