"""Make three kinds of data, and the programs that train a model of each: a number, yes or no, and three classes."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_wine

_ROWS = 3000
_DAYS, _DAY_S, _LABEL_DELAY_S = 20, 86_400.0, 3600.0
_UNITS = 400
_CHOSEN = 6
"""Features that are taken from each of scikit-learn's tables [count]."""
_EXAMPLE = re.compile(r'\[\{"customer": "c7".*?\}\]')
_TRUSTED = 'skops_trusted_types=["sklearn.tree._tree.Tree"],'
"""What the page says of trees."""
_EXAMPLE_LABEL = "310000"


@dataclass(frozen=True, slots=True)
class OwnModel:
    """A reader's model: the names that stand in the place of the page's, the data, and how the model is trained.

    Attributes:
        task: What the model answers with.
        name: Registered model; "prices" on the page.
        label: Column of what came true; "price" on the page.
        unit: Column that sticks to one version; "customer" on the page.
        make: Features, and what came true.
        first, second: What is trained as version 1 and version 2: an expression of scikit-learn.
        probabilities: Whether the versions answer with probabilities.
    """

    task: str
    name: str
    label: str
    unit: str
    make: Callable[[np.random.Generator], tuple[pd.DataFrame, Any]]
    first: str
    second: str
    probabilities: bool = False

    def table(self) -> pd.DataFrame:
        """Requests of the last days, with what came true an hour later."""
        rng = np.random.default_rng(7)
        features, label = self.make(rng)
        begins = time.time() - (_DAYS + 0.1) * _DAY_S
        at = begins + np.sort(rng.uniform(0.0, _DAYS * _DAY_S, len(features)))
        units = [f"{self.unit[0]}{number}" for number in rng.integers(1, _UNITS, len(features))]
        made = features.assign(**{self.unit: units, self.label: label})
        made["at"] = pd.to_datetime(at, unit="s", utc=True)
        made["label_at"] = pd.to_datetime(at + _LABEL_DELAY_S, unit="s", utc=True)
        return made

    def adapt(self, text: str) -> str:
        """Put this model's names, and the first row of its table, in the place of the page's."""
        row = json.loads(self.table().head(1).drop(columns=["at", "label_at"]).to_json(orient="records"))[0]
        label = json.dumps(row.pop(self.label))
        text = _EXAMPLE.sub(lambda _found: json.dumps([row]), text).replace(_EXAMPLE_LABEL, label)
        for page, own in (("prices", self.name), ("price", self.label), ("customer", self.unit)):
            text = re.sub(rf"\b{page}\b", own, text)
        if self.probabilities:  # as the page says of classifiers
            text = text.replace('name="model",', 'name="model", pyfunc_predict_fn="predict_proba",')
            text = text.replace('(retrained, name="model",', '(retrained, name="model", ' + _TRUSTED)
        return text

    def training(self) -> str:
        """The reader's own program, which comes before each program of the page."""
        predict = "predict_proba" if self.probabilities else "predict"
        return (
            "import warnings\nimport pandas as pd\nfrom mlflow.models import infer_signature\n"
            "from sklearn.ensemble import *\nfrom sklearn.linear_model import *\n"
            "from sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import StandardScaler\n"
            "warnings.simplefilter('ignore')\n"
            "table = pd.read_parquet('requests.parquet')\n"
            f"features = table.drop(columns={['at', 'label_at', self.label, self.unit]!r})\n"
            f"model = {self.first}.fit(features, table[{self.label!r}])\n"
            f"retrained = {self.second}.fit(features, table[{self.label!r}])\n"
            f"signature = infer_signature(features, model.{predict}(features))\n"
        )

    def write_table(self, folder: Path) -> None:
        """Write the table where the page's commands look for it."""
        self.table().to_parquet(folder / "requests.parquet")


def _houses(rng: np.random.Generator) -> tuple[pd.DataFrame, Any]:
    features = pd.DataFrame({"rooms": rng.integers(1, 7, _ROWS), "area": rng.normal(100.0, 20.0, _ROWS).round(1)})
    price = 40_000.0 + 3000.0 * features.area + 9000.0 * features.rooms + rng.normal(0.0, 20_000.0, _ROWS)
    return features, price.round(2)


def _drawn(bunch: Any, rng: np.random.Generator) -> tuple[pd.DataFrame, Any]:
    """Rows of one of scikit-learn's tables, drawn with replacement."""
    chosen = rng.integers(0, len(bunch.data), _ROWS)
    features = bunch.data.iloc[chosen, :_CHOSEN].reset_index(drop=True)
    return features.rename(columns=lambda name: name.replace(" ", "_")), bunch.target.to_numpy()[chosen]


def _tumours(rng: np.random.Generator) -> tuple[pd.DataFrame, Any]:
    return _drawn(load_breast_cancer(as_frame=True), rng)


def _wines(rng: np.random.Generator) -> tuple[pd.DataFrame, Any]:
    features, number = _drawn(load_wine(as_frame=True), rng)
    return features, np.array(["Barolo", "Grignolino", "Barbera"])[number]


_SCALED = "make_pipeline(StandardScaler(), LogisticRegression())"
_FOREST = "RandomForestClassifier(20, max_depth=4, random_state=1)"
KINDS = (
    OwnModel("a number", "prices", "price", "customer", _houses, "Ridge()", "Ridge(alpha=10.0)"),
    OwnModel("yes or no", "tumours", "benign", "patient", _tumours, _SCALED, _FOREST, probabilities=True),
    OwnModel("three classes", "wines", "cultivar", "cellar", _wines, _SCALED, _FOREST, probabilities=True),
)
"""The page's own example comes first: of it nothing is replaced."""
