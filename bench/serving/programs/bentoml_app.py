"""Define BentoML services for arrays and for frames; BENCH_MODEL names the model file."""

import os
from typing import Any

import bentoml  # type: ignore[import-not-found]
import joblib  # type: ignore[import-untyped]
import numpy as np
import pandas as pd


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class ArrayService:
    """Answers lists of rows."""

    def __init__(self) -> None:
        """Load the model."""
        self.model = joblib.load(os.environ["BENCH_MODEL"])

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=256, max_latency_ms=1000)  # type: ignore[untyped-decorator]
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Answer the rows of several requests."""
        return self.model.predict(rows)  # type: ignore[no-any-return]


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class FrameService:
    """Answers lists of records."""

    def __init__(self) -> None:
        """Load the model."""
        self.model = joblib.load(os.environ["BENCH_MODEL"])

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=256, max_latency_ms=1000)  # type: ignore[untyped-decorator]
    def predict(self, rows: list[dict[str, Any]]) -> list[float]:
        """Answer the rows of several requests."""
        return self.model.predict(pd.DataFrame(rows)).tolist()  # type: ignore[no-any-return]
