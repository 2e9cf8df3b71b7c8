"""Models of many kinds for `test_rows`: answers row by row, over the batch, and from memory; in every container."""

import datetime as dt
import random
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns about its own type hints when it is imported
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow.models import infer_signature
    from mlflow.pyfunc.model import PythonModel

COUNT = 1000
"""Distinct rows of each kind [count]."""
COLUMNS = ["x", "y", "g", "n", "day"]
DAYS = pd.date_range("2013-07-01 08:30", periods=COUNT, freq="97min")
TABLE = pd.DataFrame(
    {
        "x": np.random.default_rng(1).normal(10.0, 4.0, COUNT),
        "y": np.random.default_rng(2).uniform(1.0, 2.0, COUNT),
        "g": [("AA", "UA", "Ünïön", "DL", "B6")[i * i % 5] for i in range(COUNT)],
        "n": np.random.default_rng(3).permutation(COUNT),
        "day": DAYS[np.random.default_rng(4).permutation(COUNT)],
    }
)
GAPPY = TABLE.assign(x=TABLE.x.where(TABLE.n % 3 != 0))
"""The same with gaps."""
Answer = Callable[[pd.DataFrame], Any]


def columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Two outputs."""
    return pd.DataFrame({"score": frame.x * frame.y, "kind": frame.g.str.lower()})


def probabilities(frame: pd.DataFrame) -> Any:
    """Two numbers a row, in single precision, as matrix products give them."""
    weights = np.linspace(-1.0, 1.0, 64, dtype=np.float32).reshape(2, 32)
    hidden = np.tanh(frame[["x", "y"]].to_numpy(np.float32) @ weights)
    return hidden @ weights.T


def mixed(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame whose rows are in another order."""
    return columns(frame).sample(frac=1.0, random_state=len(frame))


ROW_WISE: dict[str, Answer] = {
    "series": lambda f: f.x * 2.0 + f.y,
    "array": lambda f: (f.x - f.y).to_numpy(),
    "list": lambda f: [float(x) for x in f.x],
    "frame": columns,
    "matrix": lambda f: f[["x", "y"]].to_numpy(),
    "float32": probabilities,
    "outputs": lambda f: {"score": (f.x + f.y).to_numpy(), "text": f.g.to_list()},
    "outputs-sorted": lambda f: {"score": f.sort_values("x").x, "back": f.sort_values("n", ascending=False).n},
    "tuple": lambda f: (f.x.to_numpy(), f.n.to_numpy()),
    "sparse": lambda f: csr_matrix(np.eye(3)[f.n % 3] * f.x.to_numpy()[:, None]),
    "text": lambda f: f.g + ":" + f.n.astype(str),
    "truth": lambda f: f.x > f.y * 6.0,
    "whole": lambda f: f.n.astype("Int64") * 3,
    "category": lambda f: pd.Categorical(f.g, categories=["AA", "B6", "DL", "UA", "Ünïön"]),
    "objects": lambda f: [{"g": g, "both": [x, {"n": n}]} for g, x, n in zip(f.g, f.x, f.n, strict=True)],
    "times": lambda f: f.day + pd.Timedelta("36min"),
    "times-array": lambda f: (f.day + pd.Timedelta("36min")).to_numpy(),
    "times-objects": lambda f: [(day + pd.Timedelta("36min")).to_pydatetime() for day in f.day],
    "days": lambda f: np.array([day.date() for day in f.day], dtype=object),
    "sorted": lambda f: f.sort_values("x").x,
    "shuffled": mixed,
}
BATCH_DEPENDENT: dict[str, Answer] = {
    "sorted-array": lambda f: f.sort_values("x").x.to_numpy(),
    "sorted-renumbered": lambda f: f.sort_values("n").n.reset_index(drop=True),
    "codes": lambda f: f.g.astype("category").cat.codes,
    "centred": lambda f: f.x - f.x.mean(),
    "rank": lambda f: f.n.rank(),
    "share": lambda f: f.x / f.x.abs().sum(),
    "group-mean": lambda f: f.groupby("g").x.transform("mean"),
    "running-sum": lambda f: f.n.cumsum(),
    "step": lambda f: f.n.diff().fillna(0.0),
    "first": lambda f: f.duplicated("g"),
    "filled": lambda f: f.x.fillna(f.x.mean()).fillna(0.0),
    "newest": lambda f: f.day.max() - f.day,
}


class Counter:
    """Counts its rows."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, frame: pd.DataFrame) -> Any:
        """The number of each row since the start."""
        self.seen += len(frame)
        return self.seen - np.arange(len(frame))


class Smooth:
    """Gives a running mean."""

    def __init__(self) -> None:
        self.mean = 0.0

    def __call__(self, frame: pd.DataFrame) -> Any:
        """The mean after each row."""
        made = []
        for x in frame.x:
            self.mean += 0.1 * (x - self.mean)
            made.append(self.mean)
        return made


NOT_REPEATABLE: dict[str, Answer] = {
    "counter": Counter(),
    "smooth": Smooth(),
    "random": lambda f: [random.random() for _ in f.x],  # noqa: S311 - it is to be random
}
ANSWERS = {**ROW_WISE, **BATCH_DEPENDENT, **NOT_REPEATABLE}
KINDS = [*ANSWERS, "sklearn"]
NUMBERS = {kind: str(index) for index, kind in enumerate(KINDS, 1)}


class Model(PythonModel):
    """Answers with a function of the frame."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - MLflow warns about types it does not know
        """Answer."""
        return self.answer(model_input)


def table(kind: str) -> pd.DataFrame:
    """Rows that a kind is asked."""
    return GAPPY if kind == "filled" else TABLE


def save(root: Path) -> None:
    """Save every kind as the directory of its number; all but one differ in one file only."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice on saving a model
        mlflow.sklearn.save_model(
            LogisticRegression().fit(TABLE[["x", "y"]], TABLE.n % 2),
            str(root / NUMBERS["sklearn"]),
            signature=infer_signature(TABLE[["x", "y"]]),
            pyfunc_predict_fn="predict_proba",
            serialization_format="cloudpickle",
            pip_requirements=["scikit-learn"],
        )
        first = root / NUMBERS[next(iter(ANSWERS))]
        mlflow.pyfunc.save_model(
            str(first),
            python_model=Model(columns),
            signature=infer_signature(TABLE),
            pip_requirements=["pandas"],
        )
    for kind, answer in ANSWERS.items():
        place = root / NUMBERS[kind]
        if place != first:
            shutil.copytree(first, place)
        (place / "python_model.pkl").write_bytes(cloudpickle.dumps(Model(answer)))


def told(answer: Any) -> object:
    """The one answer of a frame of one row as JSON, without any of the code that is tested."""
    if isinstance(answer, dict):
        return {key: told(column) for key, column in answer.items()}
    if isinstance(answer, tuple):
        return [told(one) for one in answer]
    if isinstance(answer, csr_matrix):
        answer = answer.toarray()
    if isinstance(answer, pd.DataFrame):
        return {name: told(answer[name]) for name in answer}
    timed = str(getattr(answer, "dtype", "")).startswith(("datetime", "timedelta"))
    (one,) = answer if timed or isinstance(answer, list) else answer.tolist()
    return plain(one)


def plain(value: Any) -> object:
    """One value."""
    if isinstance(value, np.datetime64):
        value = pd.Timestamp(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dt.date | pd.Timedelta):
        return value.isoformat()
    return value.item() if isinstance(value, np.generic) else value
