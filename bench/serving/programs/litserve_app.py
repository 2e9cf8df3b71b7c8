"""Serve a model with LitServe (arguments: MODEL PORT KIND; KIND is array or frame)."""

import sys
from typing import Any

import joblib  # type: ignore[import-untyped]
import litserve  # type: ignore[import-not-found]
import numpy as np
import pandas as pd


class _ModelApi(litserve.LitAPI):
    """Answers MLflow's bodies."""

    def setup(self, device: str) -> None:
        """Load the model."""
        del device
        self.model = joblib.load(sys.argv[1])

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        """Take the table."""
        return request["dataframe_split"]  # type: ignore[no-any-return]

    def batch(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Leave requests as they are: they may have many rows."""
        return inputs

    def predict(self, inputs: list[dict[str, Any]]) -> list[list[float]]:
        """Answer the rows of all requests."""
        rows = [row for one in inputs for row in one["data"]]
        asked = pd.DataFrame(rows, columns=inputs[0]["columns"]) if sys.argv[3] == "frame" else np.array(rows)
        taken = iter(self.model.predict(asked).tolist())
        return [[next(taken) for _ in one["data"]] for one in inputs]

    def unbatch(self, output: list[list[float]]) -> list[list[float]]:
        """Give each request its own."""
        return output

    def encode_response(self, output: list[float]) -> dict[str, list[float]]:
        """Answer as MLflow does."""
        return {"predictions": output}


if __name__ == "__main__":
    served = _ModelApi(max_batch_size=64, batch_timeout=0.002)
    server = litserve.LitServer(served, accelerator="cpu", timeout=60)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), num_api_servers=1, generate_client_file=False, log_level="warning",
        access_log=False,
    )  # fmt: skip
