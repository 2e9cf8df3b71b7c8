"""MODEL PORT FOLDER: the service of Ray Serve."""

import signal
import sys
from typing import Any

import joblib  # type: ignore[import-untyped]
import numpy as np
import ray  # type: ignore[import-not-found]
from ray import serve


@serve.deployment(max_ongoing_requests=256, ray_actor_options={"num_cpus": 1})
class Served:
    """Answers MLflow's bodies."""

    def __init__(self, path: str) -> None:
        """Load the model."""
        self.model = joblib.load(path)

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.002)  # type: ignore[untyped-decorator]
    async def predict(self, inputs: list[list[list[float]]]) -> list[list[float]]:
        """Answer the rows of all requests."""
        answers = self.model.predict(np.array([row for rows in inputs for row in rows])).tolist()
        taken = iter(answers)
        return [[next(taken) for _ in rows] for rows in inputs]

    async def __call__(self, request: Any) -> dict[str, list[float]]:
        """Answer one request."""
        if request.method != "POST":
            return {"predictions": []}
        body = await request.json()
        return {"predictions": await self.predict(body["dataframe_split"]["data"])}


def main() -> None:
    """Serve until a signal."""
    path, port, folder = sys.argv[1:]
    ray.init(address="local", num_cpus=2, include_dashboard=False, _temp_dir=folder, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)}, logging_config={"enable_access_log": False})
    serve.run(Served.bind(path), route_prefix="/")  # type: ignore[attr-defined]
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main()
