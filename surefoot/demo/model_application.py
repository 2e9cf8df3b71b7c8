"""Serve a model version over HTTP in the demo: one of a fixed number, or the one that an alias points to.

With `--version N` it serves that version for ever, as one server behind HAProxy. With `--alias NAME` it looks at the
alias again and again, and serves the version that the alias points to.
"""

import argparse
import asyncio
import contextlib
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import orjson
import pandas as pd
import uvicorn

from surefoot.demo.engine_policy import ALIAS_POLL_INTERVAL_S
from surefoot.demo.flight_requests import FEATURES, NUMBER_FEATURES
from surefoot.gateway.http import asgi

_VERSION_HEADER = "x-model-version"
"""Header of each answer, also of a failure: number of the version that was asked."""
_MAX_BATCH = 32
_MAX_BODY_BYTES = 1 << 20
_PATIENCE_S = 120.0
"""How long a version may take to be found and loaded at the start [seconds]."""


@dataclass(frozen=True, slots=True)
class LoadedVersion:
    """A version of the model in this process."""

    number: str
    model: Any

    def predict(self, rows: list[dict[str, object]]) -> list[object]:
        """Answers to some rows, in their order."""
        frame = pd.DataFrame(rows, columns=list(FEATURES))  # a plane is not asked for its number
        frame[list(NUMBER_FEATURES)] = frame[list(NUMBER_FEATURES)].astype(float)
        return [one.tolist() for one in self.model.predict(frame)]


class _ModelVersions:
    """Loads versions of one model, and keeps what it has loaded.

    Attributes:
        current: The version that answers now.
    """

    def __init__(self, uri: str, model: str, version: str, alias: str) -> None:
        """Load the version that answers first."""
        import mlflow  # noqa: PLC0415 - costs 3 seconds

        mlflow.set_tracking_uri(uri)
        self._load_model = mlflow.pyfunc.load_model
        self._client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._model, self._alias = model, alias
        self._known: dict[str, LoadedVersion] = {}
        self.current = self._load(version or self._pointed_to())

    def follow(self) -> None:
        """Look at the alias for ever; while the registry does not answer, what was loaded last goes on answering."""
        while True:
            time.sleep(ALIAS_POLL_INTERVAL_S)
            with contextlib.suppress(Exception):  # an application that answers is worth more than a look
                number = self._pointed_to()
                if number != self.current.number:
                    self.current = self._load(number)

    def _pointed_to(self) -> str:
        return str(self._client.get_model_version_by_alias(self._model, self._alias).version)

    def _load(self, number: str) -> LoadedVersion:
        if number not in self._known:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # MLflow's advice to the author of a model
                self._known[number] = LoadedVersion(number, self._load_model(f"models:/{self._model}/{number}"))
        return self._known[number]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request gets: the version that was asked, and its answer or its error."""

    version: str
    prediction: object = None
    error: str = ""


class _RequestBatches:
    """Asks the model for all requests that wait, together; when that fails, for each of them alone."""

    def __init__(self, versions: _ModelVersions) -> None:
        """Answer by the current one of these versions."""
        self._versions = versions
        self._waiting: list[tuple[dict[str, object], asyncio.Future[Answer]]] = []
        self._thread = ThreadPoolExecutor(1)
        self._task: asyncio.Task[None] | None = None

    async def ask(self, row: dict[str, object]) -> Answer:
        """The answer to one row."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._answer())
        return await future

    async def _answer(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            taken, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
            rows = [row for row, _ in taken]
            found = await loop.run_in_executor(self._thread, answer_rows, self._versions.current, rows)
            for (_, future), answer in zip(taken, found, strict=True):
                if not future.done():
                    future.set_result(answer)


def answer_rows(version: LoadedVersion, rows: list[dict[str, object]]) -> list[Answer]:
    """The answer to each row: together first, and one by one where a row makes the whole batch fail."""
    try:
        return [Answer(version.number, prediction) for prediction in version.predict(rows)]
    except Exception as error:  # noqa: BLE001 - a model may raise anything
        if len(rows) == 1:
            return [Answer(version.number, error=f"{type(error).__name__}: {str(error).splitlines()[0]}")]
        return [answer for row in rows for answer in answer_rows(version, [row])]


def _make_app(batches: _RequestBatches) -> Any:
    """The ASGI application: GET answers that it runs, POST takes one row as `dataframe_records`."""

    async def app(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        if scope["type"] != "http":
            return
        body = await asgi.read_body(scope, receive, _MAX_BODY_BYTES)
        if not body:
            await asgi.Response.json({"serves": True}).send(send)
            return
        (row,) = orjson.loads(body)["dataframe_records"]
        answer = await batches.ask(row)
        failed = {"error": answer.error} if answer.error else None
        reply = asgi.Response.json(failed or {"predictions": [answer.prediction]}, 500 if failed else 200)
        reply.headers[_VERSION_HEADER] = answer.version
        await reply.send(send)

    return app


def _load_in_time(uri: str, model: str, version: str, alias: str) -> _ModelVersions:
    """The versions; a registry that does not know the version yet is asked again.

    Raises:
        Exception: What MLflow said last, when there was no more time.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return _ModelVersions(uri, model, version, alias)
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(prog="python -m surefoot.demo.model_application", description=__doc__)
    parser.add_argument("mlflow")
    parser.add_argument("model")
    parser.add_argument("port", type=int)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--version", default="")
    which.add_argument("--alias", default="")
    options = parser.parse_args()
    versions = _load_in_time(options.mlflow, options.model, options.version, options.alias)
    if options.alias:
        threading.Thread(target=versions.follow, name="alias", daemon=True).start()
    uvicorn.run(
        _make_app(_RequestBatches(versions)), host="127.0.0.1", port=options.port, access_log=False,
        log_level="warning", lifespan="off", timeout_keep_alive=75,
    )  # fmt: skip


if __name__ == "__main__":
    main()
