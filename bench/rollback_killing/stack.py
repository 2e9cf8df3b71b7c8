"""Start the stack of `surefoot up` with three small models, one for each rollback mode."""

import contextlib
import json
import logging
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pyarrow as pa
from deltalake import CommitProperties, write_deltalake

from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.gateway.supervision.running_processes import live_workers
from surefoot.settings import Settings, read_settings

_ROOT = Path(__file__).resolve().parents[2]
ROLLBACK_MODES = ("immediate", "stepped", "with data")
_TICK_S = 5
MAX_WAIT_S = 240.0
_TABLE = "scores"
_HOLD_S = 2
_POLICY = """\
model: MODEL
traffic: { requests_per_minute: 1200 }
data: { suite: prices, window: 1d }
gates:
  errors: { metric: error_rate, margin: 10pp }
steps:
  - weight: 50
    hold: { for: 1m, gates: [errors] }
bake: { for: 1h, gates: [errors] }
"""
_MORE = {
    "stepped": f"rollback: {{ mode: stepped, steps: [30, 60], hold: {_HOLD_S}s }}\n",
    "with data": f"data_layer:\n  - {{ name: {_TABLE}, kind: delta, path: data/{_TABLE} }}\n",
}
_SUITE = {
    "name": "prices",
    "expectations": [{"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}],
}


def model_of_mode(mode: str) -> str:
    """Registered model that is rolled back in a mode."""
    return f"prices-{mode.replace(' ', '-')}"


def wait_for(what: Callable[[], Any], said: str, patience: float = MAX_WAIT_S, nap: float = 0.1) -> Any:
    """Wait until something is true and return it.

    Raises:
        TimeoutError: It did not become true.
    """
    deadline = time.monotonic() + patience
    while not (found := what()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"it never came: {said}")
        time.sleep(nap)
    return found


@dataclass
class RunningStack:
    """A running stack in a folder."""

    home: Path
    project: Path

    @property
    def settings(self) -> Settings:
        """What `surefoot up` wrote."""
        return read_settings(self.home)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command and do not wait for it."""
        environment = {**os.environ, "SUREFOOT_HOME": str(self.home), "COLUMNS": "300", "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", "surefoot", *words]
        return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, cwd=self.project)

    def run(self, *words: str) -> str:
        """Run a command; what it has to complain about, empty when it ended well."""
        with self.start(*words) as process:
            out, err = process.communicate(timeout=MAX_WAIT_S)
        return f"'surefoot {words[0]}' ended with {process.returncode}: {err or out}" if process.returncode else ""

    def journal(self) -> SqlJournal:
        """The journal; close it."""
        return SqlJournal(self.settings.journal_url, SystemClock())

    def ask_prefect(self, method: str, path: str, body: object = None) -> Any:
        """Ask Prefect's REST interface; again while its database is busy, or its server starts."""

        def ask() -> httpx.Response | None:
            with contextlib.suppress(httpx.HTTPError):
                url = f"{self.settings.prefect}/api{path}"
                answer = httpx.request(method, url, json=body, timeout=30.0, trust_env=False)
                return answer if answer.is_success else None
            return None

        return wait_for(ask, f"an answer to {method} {path}").json()

    def start_rollback_flow(self, model: str) -> str:
        """Have Prefect run the flow `rollback`; id of its run."""
        deployment = self.ask_prefect("GET", "/deployments/name/rollback/rollback")["id"]
        body = {"parameters": {"model": model, "reason": "the bench asks"}}
        return str(self.ask_prefect("POST", f"/deployments/{deployment}/create_flow_run", body)["id"])

    def process_of_run(self, run: str) -> psutil.Process:
        """The process that the worker has started for a flow run."""

        def find() -> psutil.Process | None:
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    if process.environ().get("PREFECT__FLOW_RUN_ID") == run and "prefect.engine" in process.cmdline():
                        return process
            return None

        process: psutil.Process = wait_for(find, f"the process of flow run {run}", nap=0.05)
        return process

    def part(self, name: str) -> psutil.Process:
        """The process of a part that `up` has started."""
        return psutil.Process(self.settings.processes[name][0])

    def gateway_workers(self) -> list[psutil.Process]:
        """Front workers of the gateway."""
        return [psutil.Process(pid) for pid in live_workers(self.home / "gateway")]

    def write_scores(self, version: str, rows: int) -> None:
        """Append scores to the table, as a job of a version does."""
        write_deltalake(
            self.project / "data" / _TABLE,
            pa.table({"request": pa.array(range(rows)), "score": [one * 1000.0 / 7 for one in range(rows)]}),
            mode="append",
            configuration={"delta.deletedFileRetentionDuration": "interval 30 days"},
            commit_properties=CommitProperties(custom_metadata={"model_version": version}),
        )


@contextlib.contextmanager
def running_stack(folder: Path) -> Iterator[RunningStack]:
    """Start the stack, serve version 1 of each model, and stop all of it at the end."""
    stack = RunningStack(folder / "home", folder / "project")
    stack.home.mkdir(parents=True)
    (stack.project / "configs").mkdir(parents=True)
    (stack.project / "expectations").mkdir()
    for name in ("flows", "tasks", "prefect.yaml"):
        (stack.project / name).symlink_to(_ROOT / name)
    for mode in ROLLBACK_MODES:
        policy = _POLICY.replace("MODEL", model_of_mode(mode)) + _MORE.get(mode, "")
        (stack.project / "configs" / f"{model_of_mode(mode)}.yaml").write_text(policy, encoding="utf-8")
    (stack.project / "expectations" / "prices.json").write_text(json.dumps(_SUITE), encoding="utf-8")
    try:
        if trouble := stack.run("up", "--tick", str(_TICK_S), "--project", str(stack.project)):
            raise RuntimeError(trouble)
        _register(stack.settings.mlflow)
        stack.write_scores("1", 100)
        for mode in ROLLBACK_MODES:
            url = f"{stack.settings.gateway}/models/{model_of_mode(mode)}/route"
            serves = lambda url=url: httpx.get(url, timeout=30.0, trust_env=False).is_success  # noqa: E731 - one line
            wait_for(serves, f"reconcile adopts the champion of {model_of_mode(mode)}")
        yield stack
    finally:
        stack.run("down")


def _register(uri: str) -> None:
    """Register two versions of each model, and set alias champion on the first one."""
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    logging.disable(logging.WARNING)  # advice on saving a model, and progress
    import mlflow  # noqa: PLC0415 - costs seconds
    import pandas as pd  # noqa: PLC0415 - same
    from sklearn.linear_model import LinearRegression  # noqa: PLC0415 - same

    frame = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0]})
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient(uri)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for slope in (1.0, 2.0):
            with mlflow.start_run():
                logged = mlflow.sklearn.log_model(
                    LinearRegression().fit(frame, frame["x"] * slope), name="model",
                    signature=mlflow.models.infer_signature(frame, frame["x"]),
                    serialization_format="cloudpickle", pip_requirements=["scikit-learn"],
                )  # fmt: skip
            for mode in ROLLBACK_MODES:
                mlflow.register_model(logged.model_uri, model_of_mode(mode))
    for mode in ROLLBACK_MODES:
        client.set_registered_model_alias(model_of_mode(mode), "champion", "1")
    logging.disable(logging.NOTSET)
