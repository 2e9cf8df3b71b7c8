"""`python -m bench.evaluating.mlflow_evaluate MODEL FRAMES LABELS`: evaluates one version with MLflow alone.

Prints when it has read the frames, waits for a line, and prints how long it then took. MLflow's explanations are
switched off.
"""

import sys
import time
import warnings
from pathlib import Path

import pandas as pd


def main() -> int:
    """Evaluate one version on all frames together."""
    model, frames, labels = sys.argv[1:]
    data = pd.concat([pd.read_parquet(path) for path in sorted(Path(frames).glob("*.parquet"))], ignore_index=True)
    data["late"] = pd.read_parquet(labels)["late"]
    data = data[data["late"].notna()].reset_index(drop=True)
    data["late"] = data["late"].astype(int)
    print("ready", flush=True)
    sys.stdin.readline()
    began, cpu = time.monotonic(), time.process_time()
    warnings.simplefilter("ignore")
    import mlflow  # noqa: PLC0415 - what a process costs belongs to it

    mlflow.set_tracking_uri(f"sqlite:///{labels}.db")
    mlflow.set_experiment("bench")
    loaded = mlflow.pyfunc.load_model(model)
    with mlflow.start_run():
        mlflow.models.evaluate(
            lambda frame: loaded.predict(frame)[:, 1] > 0.3,
            data,
            targets="late",
            model_type="classifier",
            evaluators="default",
            evaluator_config={"log_explainer": False, "log_model_explainability": False},
        )
    print(time.monotonic() - began, time.process_time() - cpu, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
