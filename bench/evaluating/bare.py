"""`python -m bench.evaluating.bare MODEL FRAMES`: predicts frames in memory with one version and nothing else.

Prints when it has read the frames, waits for a line, and prints how long it then took to load the model and predict.
"""

import sys
import time
import warnings
from pathlib import Path

import pandas as pd


def main() -> int:
    """Predict every chunk."""
    model, frames = sys.argv[1:]
    chunks = [pd.read_parquet(path) for path in sorted(Path(frames).glob("*.parquet"))]
    print("ready", flush=True)
    sys.stdin.readline()
    began, cpu = time.monotonic(), time.process_time()
    warnings.simplefilter("ignore")
    import mlflow.pyfunc  # noqa: PLC0415 - what a process costs that asks a model belongs to it, on both sides

    loaded = mlflow.pyfunc.load_model(model)
    ready, used = time.monotonic(), time.process_time()
    for chunk in chunks:
        loaded.predict(chunk)
    now, total = time.monotonic(), time.process_time()
    print(ready - began, used - cpu, now - began, total - cpu, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
