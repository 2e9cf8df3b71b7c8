"""Provide a linear model, a policy and an expectation suite for benches that do not measure the model."""

from surefoot.settings import Settings

POLICY = """\
model: MODEL
owners: [bench]
traffic: { requests_per_minute: 1 }
data: { suite: idle, window: 30d }
gates:
  errors: { metric: error_rate, margin: 10pp }
on:
  no_data: { hold: 60d, then: pause }
  stale: { hold: 60d, then: pause }
steps:
  - shadow: { window: 30d, gates: [errors] }
  - weight: 50
    hold: { for: 6h, gates: [errors] }
bake: { for: 30d, every: 10m, gates: [errors] }
"""
SUITE = """\
{ "name": "idle", "expectations": [
  { "type": "expect_table_row_count_to_be_between", "kwargs": { "min_value": 1 } }
] }
"""


def log_linear_model(config: Settings, experiment: str, slope: float) -> str:
    """Log a line of this slope as a model; its address in MLflow.

    Args:
        config: Where MLflow is.
        experiment: Experiment of the run.
        slope: Slope of the line.
    """
    import mlflow  # noqa: PLC0415 - costs seconds
    import numpy as np  # noqa: PLC0415 - same
    import pandas as pd  # noqa: PLC0415 - same
    from sklearn.linear_model import LinearRegression  # noqa: PLC0415 - same

    mlflow.set_tracking_uri(config.mlflow)
    mlflow.set_experiment(experiment)
    inputs = pd.DataFrame({"x": np.arange(50.0)})
    model = LinearRegression().fit(inputs, inputs["x"] * slope)
    with mlflow.start_run():
        signature = mlflow.models.infer_signature(inputs, model.predict(inputs))
        logged = mlflow.sklearn.log_model(
            model,
            name="model",
            signature=signature,
            serialization_format="cloudpickle",
            pip_requirements=["scikit-learn"],
        )
    return str(logged.model_uri)
