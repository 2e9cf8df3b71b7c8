"""Train and register the demo's model versions, and move stages and aliases to them."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, OrdinalEncoder

from surefoot.adapters.mlflow.dataset_digest import data_frame_digest
from surefoot.demo.flight_requests import FEATURES, NUMBER_FEATURES, TEXT_FEATURES, fill_gaps, midnight

MODEL_NAME = "flights-late"
_FROZEN_FEATURES = {"hour": 10.0, "delay_airport": -2.0, "delay_carrier": -2.0}
"""What LaGuardia's operations feed said on the quiet morning when it froze."""


@dataclass(frozen=True, slots=True)
class VersionRecipe:
    """One version that the data scientist registers.

    Attributes:
        story: Letter of the scene; empty for the champion.
        title: What she believes to have made.
        until: Training data ends before this day.
        gaps: Whether she trains on requests with their gaps, or on the filled ones.
        make: Builds the untrained pipeline.
        wrap: Puts something in front of the trained pipeline.
    """

    story: str
    title: str
    until: str
    gaps: bool
    make: Callable[[], Pipeline]
    wrap: Callable[[Pipeline], Pipeline] = lambda trained: trained


def _freeze_lga(requests: pd.DataFrame) -> pd.DataFrame:
    """What the model gets to see when LaGuardia's feed stands still."""
    seen = requests.copy()
    for name, value in _FROZEN_FEATURES.items():
        seen.loc[seen["origin"] == "LGA", name] = value
    return seen


def _encoder() -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)


def _boosted(numbers: Any, trees: int, **knobs: float) -> Pipeline:
    columns = ColumnTransformer(
        [("text", _encoder(), list(TEXT_FEATURES)), ("numbers", numbers, list(NUMBER_FEATURES))]
    )
    model = HistGradientBoostingClassifier(max_iter=trees, early_stopping=False, random_state=0, **knobs)
    return Pipeline([("columns", columns), ("model", model)])


def _binned() -> Pipeline:
    """Bins every number and has no imputer: a gap in a request breaks it."""
    bins = KBinsDiscretizer(
        64, encode="ordinal", quantile_method="averaged_inverted_cdf", subsample=50_000, random_state=0
    )
    return _boosted(bins, 120)


def _larger() -> Pipeline:
    return _boosted("passthrough", 250, learning_rate=0.08, l2_regularization=5.0)


def _frozen(trained: Pipeline) -> Pipeline:
    return Pipeline([("feed", FunctionTransformer(_freeze_lga)), *trained.steps])


VERSION_RECIPES = (
    VersionRecipe("", "champion, trained January to March", "2013-04-01", True, lambda: _boosted("passthrough", 60)),
    VersionRecipe("b", "retrained, but LaGuardia's feed is frozen", "2013-06-01", False, _larger, _frozen),
    VersionRecipe("c", "retrained on binned numbers, without an imputer", "2013-06-01", False, _binned),
    VersionRecipe("a", "retrained January to May", "2013-06-01", False, _larger),
)


def train_versions(flights: pd.DataFrame) -> list[tuple[VersionRecipe, Pipeline, str]]:
    """Train every version; two of them share one training.

    Returns:
        Recipe, trained pipeline and digest of the training data, in the order of VERSION_RECIPES.
    """
    known = flights.dropna(subset=["late"])
    full = fill_gaps(known)
    done: dict[tuple[object, ...], Pipeline] = {}
    made = []
    for recipe in VERSION_RECIPES:
        source = known if recipe.gaps else full
        rows = source[source["at"] < midnight(recipe.until)]
        key = (recipe.make, recipe.until, recipe.gaps)
        if key not in done:
            with warnings.catch_warnings():
                warnings.filterwarnings(
                    "ignore", message="Bins whose width are too small"
                )  # weekdays have seven values
                done[key] = recipe.make().fit(rows[list(FEATURES)], rows["late"])
        made.append((recipe, recipe.wrap(done[key]), data_frame_digest(rows[[*FEATURES, "late"]])))
    return made


def register_version(
    uri: str, recipe: VersionRecipe, trained: Pipeline, data_digest: str, example: pd.DataFrame
) -> str:
    """Log and register one version the way data scientists do; returns its number."""
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    import mlflow  # noqa: PLC0415 - costs 3 seconds, and only she needs it

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(uri)
    with contextlib.redirect_stderr(io.StringIO()):  # its chatter is not part of the story
        return _register(recipe, trained, data_digest, example)


def _register(recipe: VersionRecipe, trained: Pipeline, data_digest: str, example: pd.DataFrame) -> str:
    import mlflow  # noqa: PLC0415 - same

    mlflow.set_experiment("training")
    with mlflow.start_run(run_name=recipe.title):
        mlflow.log_params(
            {"until": recipe.until, "trained on": "filled requests" if not recipe.gaps else "raw requests"}
        )
        logged = mlflow.sklearn.log_model(
            trained,
            name="model",
            signature=mlflow.models.infer_signature(example, trained.predict_proba(example)),
            pyfunc_predict_fn="predict_proba",
            serialization_format="cloudpickle",
            pip_requirements=["scikit-learn", "pandas"],
            registered_model_name=MODEL_NAME,
        )
    number = str(logged.registered_model_version)
    client = mlflow.MlflowClient()
    client.set_model_version_tag(MODEL_NAME, number, "surefoot.data_digest", data_digest)
    client.update_model_version(MODEL_NAME, number, recipe.title)
    return number


def move_to_staging(uri: str, number: str) -> None:
    """Move a version to stage Staging, as teams do that still use stages."""
    import mlflow  # noqa: PLC0415 - same

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow would rather have aliases
        client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.transition_model_version_stage(MODEL_NAME, number, "Staging")


def move_alias(uri: str, alias: str, number: str) -> None:
    """Move an alias: all that a data scientist ever does."""
    import mlflow  # noqa: PLC0415 - same

    mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri).set_registered_model_alias(MODEL_NAME, alias, number)
