"""Models for `test_mlflow_semantics`: one of each kind of signature, saved once and served by both sides."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import cloudpickle
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns about its own type hints when it is imported
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow.models import ModelSignature
    from mlflow.pyfunc.model import PythonModel
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
    from mlflow.types.schema import Array, Object, Property

NAMES = ("numbers", "mixed", "typed", "echo", "matrix", "named", "bare", "shown", "text", "unnamed", "nested", "hinted")

PLAIN: dict[str, DataType] = {
    "carrier": DataType.string,
    "distance": DataType.double,
    "delay": DataType.float,
    "seats": DataType.integer,
    "minutes": DataType.long,
    "night": DataType.boolean,
}
OPTIONAL: dict[str, DataType] = {"wind": DataType.double, "tail": DataType.string}


def flights() -> pd.DataFrame:
    """Rows to train on; nothing in them is random."""
    n = 60
    return pd.DataFrame(
        {
            "carrier": [("AA", "UA", "Ünïön", "007")[i % 4] for i in range(n)],
            "distance": np.linspace(100.0, 2500.0, n),
            "delay": np.linspace(-20.0, 90.0, n)[::-1].astype(np.float32),
            "seats": np.array([50 + 7 * (i % 11) for i in range(n)], dtype=np.int32),
            "minutes": np.array([30 + 5 * (i % 17) for i in range(n)], dtype=np.int64),
            "night": [i % 3 == 0 for i in range(n)],
            "wind": [None if i % 5 == 0 else float(i % 13) for i in range(n)],
            "tail": [None if i % 4 == 1 else f"N{i % 3}" for i in range(n)],
        }
    )


def saw(value: object) -> str:
    """What a model saw in one cell; all that pandas counts as missing is one thing, and so are lists and arrays."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {saw(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(saw, value)) + "]"
    return "missing" if pd.isna(value) else str(value)  # type: ignore[call-overload]


def echo(frame: pd.DataFrame, params: dict[str, object] | None) -> object:
    """Two columns that tell what each row was; or, on demand of the first carrier, an answer of another kind."""
    seen = [
        "; ".join(f"{name} {saw(value)}" for name, value in row.items() if saw(value) != "missing")
        for row in frame.to_dict(orient="records")
    ]
    wanted, n = str(frame["carrier"].iloc[0]), len(frame)
    made: dict[str, Callable[[], object]] = {
        "answer series": lambda: frame["distance"] * 2.0,
        "answer nameless series": lambda: pd.Series([1.5] * n),
        "answer list": lambda: [1, 2.5, "three", True][:n],
        "answer tuple": lambda: (1.5,) * n,
        "answer texts": lambda: np.array(["late"] * n),
        "answer truths": lambda: np.array([True] * n),
        "answer counts": lambda: np.arange(n),
        "answer float32": lambda: np.full(n, 0.1, dtype=np.float32),
        "answer matrix": lambda: np.full((n, 2), 0.5),
        "answer cube": lambda: np.full((n, 2, 2), 0.5),
        "answer objects": lambda: [{"late": True, "by": [1, 2]}] * n,
        "answer arrays": lambda: [np.array([1.0, 2.0])] * n,
        "answer dates": lambda: pd.DataFrame({"at": pd.date_range("2013-07-01", periods=n)}),
        "answer numbered frame": lambda: pd.DataFrame(np.full((n, 2), 0.5)),
        "answer columns": lambda: {"a": [1.0] * n, "b": [2.0] * n},
        "answer one text": lambda: "done",
        "answer one number": lambda: 1.5,
        "answer nothing": lambda: None,
        "answer null": lambda: [None] * n,
        "answer nan": lambda: np.full(n, np.nan),
        "answer infinity": lambda: np.full(n, np.inf),
        "answer short": lambda: [1.5] * (n - 1),
        "answer bytes": lambda: [b"late"] * n,
        "answer set": lambda: [{1, 2}] * n,
        "answer params": lambda: [f"{params}"] * n,
        "answer frame with nan": lambda: pd.DataFrame({"a": [np.nan] * n}),
    }
    if wanted in made:
        return made[wanted]()
    if wanted == "answer raise":
        raise KeyError("no such tree")
    return pd.DataFrame({"seen": seen, "far": frame["distance"] > 1000.0})


def shown(given: object, params: dict[str, object] | None) -> object:
    """One text a row: in what it came, and what it was."""
    if isinstance(given, dict):
        return [f"dict {name}: {saw(given[name])}" for name in given]
    if isinstance(given, np.ndarray):
        return [f"array {given.dtype.kind} {saw(value)}" for value in given]
    if isinstance(given, pd.DataFrame):
        return [
            f"frame {'; '.join(f'{n} {saw(v)}' for n, v in row.items())}" for row in given.to_dict(orient="records")
        ]
    if isinstance(given, list):
        return [f"list {saw(value)}" for value in given]
    return [f"{type(given).__name__} {given}"]


def named(given: dict[str, np.ndarray], params: dict[str, object] | None) -> object:
    """The sum of each image, times its weight."""
    return given["image"].astype(float).sum(axis=(1, 2)) * given["weight"]


def words(frame: pd.DataFrame, params: dict[str, object] | None) -> object:
    """How long each text is."""
    return frame["text"].str.len().to_numpy()


def total(frame: pd.DataFrame, params: dict[str, object] | None) -> object:
    """Both columns, weighted, so that their order shows."""
    return (frame.iloc[:, 0] + 10.0 * frame.iloc[:, 1]).to_numpy()


def nested(frame: pd.DataFrame, params: dict[str, object] | None) -> object:
    """What each row was, without what is missing."""
    rows = frame.to_dict(orient="records")
    return [saw({name: cell for name, cell in row.items() if saw(cell) != "missing"}) for row in rows]


def _pyfunc(path: Path, answer: Callable[..., object], signature: ModelSignature | None) -> None:
    class Model(PythonModel):
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - MLflow would make a signature of types
            return answer(model_input, params)

    mlflow.pyfunc.save_model(str(path), python_model=Model(), signature=signature, pip_requirements=["pandas"])


def _hinted(path: Path) -> None:
    class Hinted(PythonModel):
        def predict(self, model_input: list[str]) -> list[str]:  # type: ignore[override] # MLflow reads this form too
            return [text.upper() for text in model_input]

    mlflow.pyfunc.save_model(str(path), python_model=Hinted(), pip_requirements=["pandas"])


def _sklearn(path: Path, model: object, signature: ModelSignature | None, function: str) -> None:
    mlflow.sklearn.save_model(
        model, str(path), signature=signature, pyfunc_predict_fn=function, serialization_format="cloudpickle",
        pip_requirements=["scikit-learn"],
    )  # fmt: skip


def _pipeline() -> Pipeline:
    """Columns of every plain type, the missing ones filled in or a category of their own."""
    return make_pipeline(
        ColumnTransformer(
            [
                ("texts", OneHotEncoder(handle_unknown="ignore"), ["carrier", "tail"]),
                ("numbers", SimpleImputer(), ["distance", "delay", "seats", "minutes", "wind"]),
                ("truths", "passthrough", ["night"]),
            ]
        ),
        StandardScaler(with_mean=False),
        LogisticRegression(max_iter=1000),
    )


def _signatures() -> dict[str, ModelSignature]:
    double, float64 = DataType.double, np.dtype("float64")
    plain: list[ColSpec | TensorSpec] = [ColSpec(kind, name) for name, kind in PLAIN.items()]
    plain += [ColSpec(kind, name, required=False) for name, kind in OPTIONAL.items()]
    place = Object([Property("city", DataType.string), Property("zip", DataType.long, required=False)])
    blob = ColSpec(DataType.binary, "blob", required=False)
    schemas = {
        "numbers": Schema([ColSpec(double, name) for name in ("x", "y", "z")]),
        "mixed": Schema(plain),
        "typed": Schema(plain),
        "echo": Schema([*plain, ColSpec(DataType.datetime, "departs")]),
        "matrix": Schema([TensorSpec(float64, (-1, 4))]),
        "named": Schema([TensorSpec(np.dtype("float32"), (-1, 2, 2), "image"), TensorSpec(float64, (-1,), "weight")]),
        "text": Schema([ColSpec(DataType.string, "text")]),
        "unnamed": Schema([ColSpec(double), ColSpec(double)]),
        "nested": Schema([ColSpec(Array(double), "vector"), ColSpec(place, "place"), blob]),
    }
    tuned = {"echo": ParamSchema([ParamSpec("threshold", double, 0.5)])}
    return {name: ModelSignature(schema, params=tuned.get(name)) for name, schema in schemas.items()}  # type: ignore[arg-type]


def save(root: Path) -> None:
    """Save every model of NAMES below root."""
    # By value: the servers should not need this module.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    frame = flights()
    late = (np.arange(len(frame)) * 7 % 5 < 2).astype(int)
    xyz = frame[["distance", "minutes", "delay"]].astype(float).set_axis(["x", "y", "z"], axis=1)
    matrix = frame[["distance", "delay", "seats", "minutes"]].to_numpy(dtype=float)
    texts = np.array(["on time", "late"])[late]
    fitted = {
        "numbers": make_pipeline(StandardScaler(), LogisticRegression()).fit(xyz, late),
        "mixed": _pipeline().fit(frame, late),
        "matrix": make_pipeline(StandardScaler(), LogisticRegression()).fit(matrix, late),
        "bare": LogisticRegression(max_iter=1000).fit(xyz, texts),
    }
    functions: dict[str, Callable[..., object]] = {
        "typed": echo, "echo": echo, "named": named, "shown": shown, "text": words, "unnamed": total, "nested": nested
    }  # fmt: skip
    signatures = _signatures()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice to the author of a model
        for name, model in fitted.items():
            _sklearn(root / name, model, signatures.get(name), "predict" if name == "bare" else "predict_proba")
        for name, answer in functions.items():
            _pyfunc(root / name, answer, signatures.get(name))
        _hinted(root / "hinted")
