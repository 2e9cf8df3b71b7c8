"""A data scientist's own script: trains two regressions on house prices, logs and registers them; knows no Surefoot.

Run as `python -m tests.e2e.scientist` with MLFLOW_TRACKING_URI set: every name becomes a registered model whose
version 1 looks at the area only and whose version 2 looks at everything.
"""

import warnings

import numpy as np
import pandas as pd

FEATURES = ("area", "rooms", "age", "distance", "district")
DISTRICTS = {"harbour": 40.0, "hill": 90.0, "mill": 0.0, "station": -30.0}
CABINS = tuple(f"cabins-{name}" for name in ("whole", "shadow", "ramp", "before", "after", "abort", "cut", "trip"))
"""Small models, one a way of being interrupted: nothing of one test is in another one's journal."""
TAKEN_BACK = ("huts", "inns", "mews")
"""Models whose promoted version is taken back while a process is killed."""
NAMES = (
    "house-prices", "lodges", "barns", "flats", "cottages", "sheds", "staged", "mills", "villas", "tents", "lost",
    *CABINS, *TAKEN_BACK,
)  # fmt: skip
"""Every registered model; `lost` gets no champion."""
BLOCK = 1000
"""Houses that are drawn together [count]."""


def houses(block: int) -> pd.DataFrame:
    """One seeded block of offers with their prices [thousand euro]; the same block is always the same."""
    draw = np.random.default_rng(block)
    table = pd.DataFrame(
        {
            "area": draw.uniform(30.0, 220.0, BLOCK).round(1),
            "rooms": draw.integers(1, 8, BLOCK).astype(float),
            "age": draw.uniform(0.0, 90.0, BLOCK).round(0),
            "distance": draw.exponential(6.0, BLOCK).round(2),
            "district": draw.choice(list(DISTRICTS), BLOCK),
        }
    )
    price = 60.0 + 3.0 * table["area"] + 12.0 * table["rooms"] - 0.7 * table["age"] - 5.0 * table["distance"]
    table["price"] = price + table["district"].map(DISTRICTS) + draw.normal(0.0, 15.0, BLOCK)
    return table


def main() -> None:
    """Train, log and register."""
    import mlflow  # noqa: PLC0415 - only the script needs it, not the tests that read the houses
    from sklearn.compose import ColumnTransformer  # noqa: PLC0415 - same
    from sklearn.ensemble import HistGradientBoostingRegressor  # noqa: PLC0415 - same
    from sklearn.linear_model import Ridge  # noqa: PLC0415 - same
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415 - same
    from sklearn.preprocessing import OrdinalEncoder  # noqa: PLC0415 - same

    table = pd.concat([houses(-block % 2**32) for block in (1, 2, 3, 4)])
    inputs, price = table[list(FEATURES)], table["price"]
    columns = ColumnTransformer([("district", OrdinalEncoder(), ["district"])], remainder="passthrough")
    area = ColumnTransformer([("area", "passthrough", ["area"])])
    mlflow.set_experiment("houses")
    for title, model in (
        ("area only", make_pipeline(area, Ridge())),
        ("everything", make_pipeline(columns, HistGradientBoostingRegressor(max_iter=60, random_state=0))),
    ):
        with mlflow.start_run(run_name=title):
            logged = mlflow.sklearn.log_model(
                model.fit(inputs, price),
                name="model",
                signature=mlflow.models.infer_signature(inputs, model.predict(inputs)),
                serialization_format="cloudpickle",
                pip_requirements=["scikit-learn", "pandas"],
            )
        for name in NAMES:
            mlflow.register_model(logged.model_uri, name)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # advice on logging a model
    main()
