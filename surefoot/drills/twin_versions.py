"""Register a good and a faulty version in a twin, the copy of production in which a drill runs."""

import json
import logging
import os
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from surefoot.core.errors import Rejected
from surefoot.drills.faulty_version import FaultyVersion
from surefoot.drills.misbehaviour import TypicalInputs
from surefoot.drills.registration_request import GOOD, TYPICAL_INPUTS_FILE, RegistrationRequest

if TYPE_CHECKING:
    from mlflow.models import Model

_USUAL = (0.005, 0.995)
"""Between these quantiles the values of a column are usual."""
_MOST_VALUES = 1000
"""A column of text with more values than this has identifiers, of which new ones are usual [count]."""
_SAMPLE = 400
"""Rows that the good version is asked, to see the form of its answers [count]."""


def register_versions(order: RegistrationRequest) -> None:
    """Save and register both versions, and let alias champion point to the good one.

    Raises:
        Rejected: The answers of the good version are of no form that a drill can spoil.
    """
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    warnings.simplefilter("ignore")  # MLflow's advice to the author of a model
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    import mlflow.pyfunc  # noqa: PLC0415 - costs seconds
    from mlflow import MlflowClient  # noqa: PLC0415 - same

    folder = Path(order.folder)
    folder.mkdir(parents=True, exist_ok=True)
    good = Path(order.good) if order.good else _trained(order, folder / "good")
    loaded = mlflow.pyfunc.load_model(str(good))
    usual = _usual(loaded, pd.read_parquet(order.traffic))
    if usual.form == "other":
        raise Rejected(
            f"the answers of {order.model} are no numbers and no two probabilities: a drill cannot spoil them"
        )
    (folder / TYPICAL_INPUTS_FILE).write_text(json.dumps(asdict(usual)), encoding="utf-8")
    metadata: Model = loaded.metadata
    mlflow.pyfunc.save_model(
        str(folder / "faulty"),
        python_model=FaultyVersion(usual),
        artifacts={"good": str(good)},
        signature=metadata.signature,
        pip_requirements=["mlflow"],
    )
    client = MlflowClient(tracking_uri=order.registry, registry_uri=order.registry)
    client.create_registered_model(order.model)
    for source in (good, folder / "faulty"):
        client.create_model_version(order.model, str(source))
    client.set_registered_model_alias(order.model, "champion", GOOD)


def _usual(loaded: Any, traffic: pd.DataFrame) -> TypicalInputs:
    """What was usual among the requests, and the form of the good version's answers."""
    numbers: dict[str, tuple[float, float]] = {}
    texts: dict[str, tuple[str, ...]] = {}
    names = [str(name) for name in loaded.metadata.get_input_schema().input_names()]
    for name in names:
        column = traffic[name]
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            low, high = (float(column.quantile(q)) for q in _USUAL)
            if high > low:
                numbers[name] = (low, high)
        elif column.nunique() <= _MOST_VALUES:
            texts[name] = tuple(sorted(str(value) for value in column.dropna().unique()))
    rows = traffic[names].head(_SAMPLE)
    answers = pd.DataFrame(loaded.predict(rows)).to_numpy()
    mean = float(pd.to_numeric(traffic["label"], errors="coerce").mean())
    form = "other"
    if answers.dtype.kind == "f" and answers.shape[1] == 2 and abs(answers.sum(axis=1) - 1.0).max() < 1e-6:  # noqa: PLR2004 - two classes
        form = "classes"
    elif answers.dtype.kind in "fi" and answers.shape[1] == 1:
        form = "probability" if answers.min() >= 0.0 and answers.max() <= 1.0 else "number"
    scale = float(answers.std()) if form == "number" else 1.0
    harm = {}
    for name, (low, high) in numbers.items() if form != "other" else ():
        moved = pd.DataFrame(loaded.predict(rows.assign(**{name: rows[name] + high - low}))).to_numpy()
        harm[name] = float(abs(moved - answers).mean())
    sign = -1.0 if form != "number" and mean > 0.5 else 1.0  # noqa: PLR2004 - half of the labels
    return TypicalInputs(numbers, texts, form, scale, sign, harm)


def _trained(order: RegistrationRequest, folder: Path) -> Path:
    """Train the champion of the demo, once for all drills of this home, and write its flights as traffic."""
    import mlflow.sklearn  # noqa: PLC0415 - costs seconds

    from surefoot.demo.flight_requests import FEATURES, UNIT_COLUMN, build_requests, midnight  # noqa: PLC0415 - same
    from surefoot.demo.model_versions import VERSION_RECIPES  # noqa: PLC0415 - same
    from surefoot.demo.scenario import EVERY_NTH_FLIGHT, REPLAY_START  # noqa: PLC0415 - same

    flights = build_requests(Path(order.cache) / "flights.parquet")
    recipe = VERSION_RECIPES[0]
    known = flights.dropna(subset=["late"])
    rows = known[known["at"] < midnight(recipe.until)]
    example = rows[list(FEATURES)]
    pipeline = recipe.make().fit(example, rows["late"])
    mlflow.sklearn.save_model(
        pipeline,
        str(folder),
        signature=mlflow.models.infer_signature(example.head(500), pipeline.predict_proba(example.head(500))),
        pyfunc_predict_fn="predict_proba",
        serialization_format="cloudpickle",
        pip_requirements=["scikit-learn", "pandas"],
    )
    live = flights[flights["at"] >= REPLAY_START].iloc[::EVERY_NTH_FLIGHT]
    live = live.rename(columns={"late": "label"})
    live[["id", "at", "label", "label_at", UNIT_COLUMN, *FEATURES]].to_parquet(order.traffic)
    return folder


if __name__ == "__main__":
    try:
        register_versions(RegistrationRequest(**json.loads(sys.argv[1])))
    except Rejected as error:
        sys.exit(f"surefoot: {error}")
