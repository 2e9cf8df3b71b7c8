"""Serve a model with Ray Serve (arguments: MODEL PORT KIND FOLDER; KIND is array or frame)."""

import signal
import sys
from typing import Any

import joblib  # type: ignore[import-untyped]
import numpy as np
import pandas as pd
import ray
from ray import serve


@serve.deployment(max_ongoing_requests=256, ray_actor_options={"num_cpus": 1})
class _ModelApp:
    """Answers MLflow's bodies."""

    def __init__(self, path: str, kind: str) -> None:
        """Load the model."""
        self.model, self.kind = joblib.load(path), kind

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.002)  # type: ignore[untyped-decorator]
    async def predict(self, inputs: list[dict[str, Any]]) -> list[list[float]]:
        """Answer the rows of all requests."""
        rows = [row for one in inputs for row in one["data"]]
        asked = pd.DataFrame(rows, columns=inputs[0]["columns"]) if self.kind == "frame" else np.array(rows)
        taken = iter(self.model.predict(asked).tolist())
        return [[next(taken) for _ in one["data"]] for one in inputs]

    async def __call__(self, request: Any) -> dict[str, list[float]]:
        """Answer one request."""
        if request.method != "POST":
            return {"predictions": []}
        body = await request.json()
        return {"predictions": await self.predict(body["dataframe_split"])}


def main() -> None:
    """Serve until a signal."""
    path, port, kind, folder = sys.argv[1:]
    ray.init(address="local", num_cpus=2, include_dashboard=False, _temp_dir=folder, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)}, logging_config={"enable_access_log": False})
    serve.run(_ModelApp.bind(path, kind), route_prefix="/")  # type: ignore[attr-defined]
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main()
