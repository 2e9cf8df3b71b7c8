"""`python -m bench.rolling.alias_application MLFLOW MODEL FOLDER PORT`: serves the version that an alias names.

It reads the alias before each batch of the requests that wait, as the documentation of engine `alias` advises.
"""

import asyncio
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import orjson
import uvicorn

from bench.rolling.engines import CANDIDATE, CHAMPION
from surefoot.adapters.mlflow.artifacts import load_model_directory
from surefoot.gateway.http import asgi


class _Batches:
    """Answers all requests that wait, by the version that the alias names at that moment."""

    def __init__(self, mlflow: str, model: str, folder: Path) -> None:
        """Load both versions."""
        self._ask = httpx.Client(base_url=mlflow, timeout=60.0, trust_env=False)
        self._alias = {"name": model, "alias": "champion"}
        self._models = {number: load_model_directory(folder / number) for number in (CHAMPION, CANDIDATE)}
        for one in self._models.values():
            one.warm()
        self._waiting: list[tuple[list[Any], asyncio.Future[tuple[str, list[Any]]]]] = []
        self._thread = ThreadPoolExecutor(1)
        self._task: asyncio.Task[None] | None = None

    async def answer(self, rows: list[Any]) -> tuple[str, list[Any]]:
        """The version, and its answers to some rows."""
        future: asyncio.Future[tuple[str, list[Any]]] = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            taken, self._waiting = self._waiting, []
            version, found = await loop.run_in_executor(self._thread, self._batch, [rows for rows, _ in taken])
            for (_, future), answers in zip(taken, found, strict=True):
                if not future.done():
                    future.set_result((version, answers))

    def _batch(self, asked: list[list[Any]]) -> tuple[str, list[list[Any]]]:
        told = self._ask.get("/api/2.0/mlflow/registered-models/alias", params=self._alias).raise_for_status()
        version = str(told.json()["model_version"]["version"])
        return version, [list(self._models[version].predict(rows)) for rows in asked]


def main() -> None:
    """Serve until a signal."""
    mlflow, model, folder, port = sys.argv[1:]
    warnings.simplefilter("ignore")
    batches = _Batches(mlflow, model, Path(folder))

    async def app(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        if scope["type"] != "http":
            return
        body = await asgi.read_body(scope, receive, 1 << 20)
        version, answers = await batches.answer(orjson.loads(body)["instances"]) if body else ("", [])
        reply = asgi.Response.json({"predictions": answers})
        reply.headers["x-model-version"] = version
        await reply.send(send)

    uvicorn.run(
        app, port=int(port), loop="uvloop", http="httptools", access_log=False, log_level="warning", lifespan="off",
        timeout_keep_alive=75,
    )  # fmt: skip


if __name__ == "__main__":
    main()
