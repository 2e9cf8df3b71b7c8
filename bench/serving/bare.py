"""`python -m bench.serving.bare MODEL PORT`: serves a bare app that only predicts, one request at a time."""

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import uvicorn

from bench.serving.model_server import Server, free_port, running_process
from surefoot.gateway.http import asgi


@contextlib.contextmanager
def running_bare_app(root: Path, name: str, folder: Path) -> Iterator[Server]:
    """That app."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    command = [sys.executable, "-m", "bench.serving.bare", str(root / name), str(port)]
    with running_process(command, {"OMP_NUM_THREADS": "1"}, url, folder / f"bare-{name}.log") as found:
        yield Server(url, found)


def _loaded(path: Path) -> Callable[[dict[str, list[Any]]], Any]:
    """How a model is asked: with an array where that is enough, else as MLflow does it."""
    if path.name in {"numeric", "forest"}:
        import joblib  # type: ignore[import-untyped]  # noqa: PLC0415 - only here, and MLflow need not be imported

        model = joblib.load(path / "model.pkl")
        return lambda table: model.predict(np.array(table["data"]))
    import mlflow.pyfunc  # noqa: PLC0415 - only here
    import pandas as pd  # noqa: PLC0415 - same

    checked = mlflow.pyfunc.load_model(str(path))
    return lambda table: checked.predict(pd.DataFrame(table["data"], columns=table["columns"]))


def main() -> None:
    """Serve until a signal."""
    path, port = sys.argv[1:]
    warnings.simplefilter("ignore")
    predict = _loaded(Path(path))

    async def app(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        if scope["type"] != "http":
            return
        body = await asgi.read_body(scope, receive, 1 << 20)
        answers = predict(orjson.loads(body)["dataframe_split"]).tolist() if body else []
        await asgi.Response.json({"predictions": answers}).send(send)

    uvicorn.run(
        app, port=int(port), loop="uvloop", http="httptools", access_log=False, log_level="warning", lifespan="off",
        timeout_keep_alive=75,
    )  # fmt: skip


if __name__ == "__main__":
    main()
