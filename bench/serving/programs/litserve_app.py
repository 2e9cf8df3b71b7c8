"""MODEL PORT: the service of LitServe."""

import sys
from typing import Any

import joblib  # type: ignore[import-untyped]
import litserve  # type: ignore[import-not-found]
import numpy as np


class Served(litserve.LitAPI):  # type: ignore[misc]
    """Answers MLflow's bodies."""

    def setup(self, device: str) -> None:
        """Load the model."""
        del device
        self.model = joblib.load(sys.argv[1])

    def decode_request(self, request: dict[str, Any]) -> list[list[float]]:
        """Take the rows."""
        return request["dataframe_split"]["data"]  # type: ignore[no-any-return]

    def batch(self, inputs: list[list[list[float]]]) -> list[list[list[float]]]:
        """Leave requests as they are: they may have many rows."""
        return inputs

    def predict(self, inputs: list[list[list[float]]]) -> list[list[float]]:
        """Answer the rows of all requests."""
        answers = self.model.predict(np.array([row for rows in inputs for row in rows])).tolist()
        taken = iter(answers)
        return [[next(taken) for _ in rows] for rows in inputs]

    def unbatch(self, output: list[list[float]]) -> list[list[float]]:
        """Give each request its own."""
        return output

    def encode_response(self, output: list[float]) -> dict[str, list[float]]:
        """Answer as MLflow does."""
        return {"predictions": output}


if __name__ == "__main__":
    served = Served(max_batch_size=64, batch_timeout=0.002)
    server = litserve.LitServer(served, accelerator="cpu", timeout=60)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), num_api_servers=1, generate_client_file=False, log_level="warning",
        access_log=False,
    )  # fmt: skip
