"""Define the MLflow model that misbehaves in a drill, in the way that a fault file describes."""

import json
import os
import time
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from surefoot.drills.misbehaviour import FAULT_FILE_VARIABLE, Misbehaviour, TypicalInputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHIFT = 1.5
"""How far the log-odds of an answer go for each width of the usual values that a row is outside of them."""


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow's advice on type hints, at each import
    from mlflow.pyfunc.model import PythonModel

    class FaultyVersion(PythonModel):
        """A good version that extrapolates as linear models do, and misbehaves while a file says so.

        Attributes:
            usual: Inputs and answers that were usual.
        """

        def __init__(self, usual: TypicalInputs) -> None:
            """Remember what was usual; the good version comes with the artifacts."""
            self.usual = usual

        def load_context(self, context: Any) -> None:
            """Load the good version."""
            import mlflow.pyfunc  # noqa: PLC0415 - costs seconds

            self._good = mlflow.pyfunc.load_model(context.artifacts["good"])
            self._file = Path(os.environ.get(FAULT_FILE_VARIABLE) or os.devnull)
            self._read: tuple[int, Misbehaviour] = (0, Misbehaviour())
            self._leaked: list[object] = []

        # MLflow warns of a missing type hint, and of most others; a table is one that it takes as it is.
        def predict(self, context, model_input: pd.DataFrame, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, ARG002
            """Answer as the good version does, unless the inputs are unusual or the file says how to misbehave."""
            now = self._misbehaviour()
            hit = _hit(model_input, now) if now.mode else np.zeros(len(model_input), dtype=bool)
            if hit.any():
                self._misbehave(now)
            answers = self._extrapolated(np.asarray(self._good.predict(model_input)), model_input)
            if hit.any() and now.mode == "nan":
                answers = answers.astype(float)
                answers[hit] = np.nan
            if hit.any() and now.mode == "invert":
                answers[hit] = self._inverted(answers[hit])
            return answers

        def _misbehaviour(self) -> Misbehaviour:
            try:
                changed = self._file.stat().st_mtime_ns
                if changed != self._read[0]:
                    plain = json.loads(self._file.read_text(encoding="utf-8") or "{}")
                    self._read = (changed, Misbehaviour(**plain))
            except (OSError, ValueError):
                return Misbehaviour()
            return self._read[1]

        def _misbehave(self, now: Misbehaviour) -> None:
            if now.mode == "raise":
                raise ValueError("the encoder does not know these values")
            if now.mode == "exit":
                os._exit(3)
            if now.mode == "hang":
                time.sleep(now.size)
            if now.mode == "leak":
                self._leaked.append(np.empty(int(now.size * (1 << 17))))

        def _extrapolated(self, answers: "NDArray[Any]", rows: pd.DataFrame) -> "NDArray[Any]":
            """Answers moved by how unusual the inputs are."""
            moved = self.usual.sign * _SHIFT * self.usual.distance(rows)
            if not moved.any() or self.usual.form == "other":
                return answers
            if self.usual.form == "number":
                return answers + (self.usual.scale * moved).reshape(-1, *([1] * (answers.ndim - 1)))
            likely = np.clip(answers[:, 1] if self.usual.form == "classes" else answers, 1e-6, 1 - 1e-6)
            likely = np.where(moved, 1.0 / (1.0 + np.exp(-(np.log(likely / (1.0 - likely)) + moved))), likely)
            return np.column_stack([1.0 - likely, likely]) if self.usual.form == "classes" else likely

        def _inverted(self, answers: "NDArray[Any]") -> "NDArray[Any]":
            """Answers that are as wrong as they were right."""
            if self.usual.form == "classes":
                return answers[:, ::-1]
            return 1.0 - answers if self.usual.form == "probability" else answers + 3.0 * self.usual.scale


def _hit(rows: pd.DataFrame, now: Misbehaviour) -> "NDArray[np.bool_]":
    """Which rows are hit; the same rows at every time, in every process and every batch."""
    hit = np.ones(len(rows), dtype=bool)
    for name, value in now.where.items():
        hit &= (rows[name].astype(str) == value).to_numpy()
    if now.share < 1.0:
        texts = (repr(row).encode() for row in rows.itertuples(index=False, name=None))
        hit &= np.fromiter((zlib.crc32(text) % 10_000 < 10_000 * now.share for text in texts), bool, len(rows))
    return hit
