"""A gateway that listens, in front of good and bad models, for the tests that talk to it."""

import contextlib
import http.client
import json
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pandas as pd
import uvicorn
from sklearn.linear_model import LogisticRegression

from surefoot.adapters.clock import SystemClock
from surefoot.adapters.traffic.gateway import GatewayTraffic
from surefoot.core.domain import Split
from surefoot.core.ports import Clock
from surefoot.gateway.control.reports.gateway_journal import GatewayJournal
from surefoot.gateway.http.app import build_app
from surefoot.gateway.http.endpoints.handler_context import LabelAccess
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.models.model_protocols import LoadModel
from tests import local_http
from tests.conftest import free_port
from tests.integration.gateway_process import TOKEN, Models
from tests.integration.waiting import wait_for

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns about its own type hints when it is imported
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow.models import infer_signature
    from mlflow.pyfunc.model import PythonModel

GOOD, BETTER, RAISING, SLEEPING, NAN, SHORT, QUITTING = "1", "2", "3", "4", "5", "6", "7"
FRAME = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "y": [3.0, 1.0, 0.5, 0.0]})
ROW = {"unit": "N14228", "x": 1.0, "y": 2.0}
PATIENCE = 0.25


def save_pyfunc(path: Path, answer: Callable[[pd.DataFrame], object]) -> None:
    """Save a pyfunc with the signature of the others that answers with this function."""

    class Model(PythonModel):
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - MLflow warns about types it does not know
            return answer(model_input)

    mlflow.pyfunc.save_model(
        str(path), python_model=Model(), signature=infer_signature(FRAME), pip_requirements=["pandas"]
    )


def fails(frame: pd.DataFrame) -> object:
    """Raise."""
    raise RuntimeError("no such tree")


def quits(frame: pd.DataFrame) -> object:
    """Try to end the process."""
    sys.exit(3)


def sleeps(frame: pd.DataFrame) -> object:
    """Answer a caller's row only after every timeout; rows that the gateway makes up are answered at once."""
    if (frame["x"] == ROW["x"]).all() and (frame["y"] == ROW["y"]).all():
        time.sleep(4 * PATIENCE)
    return frame["x"]


def save_models(root: Path) -> Models:
    """Save two good sklearn models and five bad pyfuncs below root."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice to the author of a model
        for number, labels in ((GOOD, [0, 0, 1, 1]), (BETTER, [0, 1, 1, 1])):
            mlflow.sklearn.save_model(
                LogisticRegression().fit(FRAME, labels),
                str(root / number),
                signature=infer_signature(FRAME),
                pyfunc_predict_fn="predict_proba",
                serialization_format="cloudpickle",
                pip_requirements=["scikit-learn"],
            )
        save_pyfunc(root / RAISING, fails)
        save_pyfunc(root / SLEEPING, sleeps)
        save_pyfunc(root / QUITTING, quits)
        save_pyfunc(root / NAN, lambda frame: frame["x"] * float("nan"))
        save_pyfunc(root / SHORT, lambda frame: frame["x"].iloc[1:])
    return Models(root)


@dataclass
class Gateway:
    """A gateway that listens."""

    root: Path
    url: str
    models: Models
    traffic: GatewayTraffic

    def split(
        self, weight: float = 0, candidate: str | None = BETTER, champion: str = GOOD, generation: int = 1
    ) -> Split:
        """Give a split of these versions."""
        named = None if candidate is None else self.models.version(candidate)
        return Split(self.models.version(champion), named, weight, "salt", "rollout-7", generation)

    def shift(self, *arguments: object, **keywords: object) -> Split:
        """Put a split in force."""
        split = self.split(*arguments, **keywords)  # type: ignore[arg-type]
        self.traffic.shift("flights", split)
        return split

    def ask(self, **row: object) -> httpx.Response:
        """Score one row."""
        return self.post({"dataframe_records": [{**ROW, **row}]})

    def post(self, body: object, path: str = "/models/flights/invocations", **headers: str) -> httpx.Response:
        """Post JSON, or bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = {"content-type": "application/json", **{key.replace("_", "-"): value for key, value in headers.items()}}
        return local_http.post(self.url + path, content=content, headers=kind, timeout=90.0)

    def records(self, kind: str = "predictions") -> list[dict[str, object]]:
        """Every record of the log."""
        segments = sorted((self.root / "log" / "flights").glob(f"{kind}-*.jsonl"))
        return [json.loads(line) for segment in segments for line in segment.read_text().splitlines()]


@contextlib.contextmanager
def listening(
    root: Path,
    models: Models,
    load: LoadModel | None = None,
    journal: GatewayJournal | None = None,
    clock: Clock | None = None,
    label_access: LabelAccess | None = None,
    **settings: object,
) -> Iterator[Gateway]:
    """Serve in a thread; by default with a patience that only a hanging candidate exceeds, however busy the host.

    Versions are loaded by `load`, if that is given, and records have the times of `clock`.
    """
    known = GatewaySettings(
        root=root,
        token=TOKEN,
        candidate_timeout_s=60.0,
        units={"flights": "unit", "later": None},
        shadow_idle_share=0.0,  # however busy the host
    )
    settled = replace(known, **settings)  # type: ignore[arg-type]
    app = build_app(settled, clock or SystemClock(), load or models, journal=journal, label_access=label_access)
    port = free_port()
    config = uvicorn.Config(
        app, port=port, loop="uvloop", http="httptools", lifespan="on", log_level="warning", log_config=None
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: server.started)
        yield Gateway(root, url, models, GatewayTraffic(url, TOKEN))
    finally:
        server.should_exit = True
        thread.join()


def ask_all(url: str, units: list[str], callers: int = 16) -> list[str]:
    """Ask for every unit once over keep-alive connections; give the versions that answered."""
    answered = [""] * len(units)
    positions = iter(range(len(units)))

    def caller() -> None:
        # The standard library's client: it leaves the processor to the gateway, which shares this process.
        with contextlib.closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=90)) as connection:
            for position in positions:
                body = json.dumps({"dataframe_records": [{**ROW, "unit": units[position]}]})
                connection.request("POST", "/models/flights/invocations", body)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200
                answered[position] = answer.headers["x-model-version"]

    with ThreadPoolExecutor(callers) as pool:
        for done in [pool.submit(caller) for _ in range(callers)]:
            done.result()
    return answered


def healthy(url: str) -> bool:
    """Whether a gateway answers and has loaded every routed model."""
    try:
        return local_http.get(f"{url}/health", timeout=5.0).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
