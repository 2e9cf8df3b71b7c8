"""Serve a model through a Surefoot connected to external servers, and promote its next version by alias."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bench.connecting.servers import Mlflow, Prefect
from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.core.journal.ledger import fold_entries
from surefoot.settings import Settings, read_settings

ROOT = Path(__file__).resolve().parents[2]
MODEL = "connected-prices"
_MAX_WAIT_S = 300.0
JOURNAL_VARIABLE = "JOURNAL_PASSWORD"
"""Environment variable that holds the password of the journal's user."""
_PACE_S = 0.03
"""Time between two requests of the caller [s]."""
_POLICY = f"""\
model: {MODEL}
traffic: {{ requests_per_minute: 1200 }}
data: {{ suite: connected, window: 1d }}
gates:
  errors: {{ metric: error_rate, margin: 10pp }}
steps:
  - shadow: {{ window: 1d, min_requests: 50, gates: [errors] }}
  - weight: 50
    hold: {{ for: 10s, gates: [errors] }}
bake: {{ for: 10s, gates: [errors] }}
"""
_SUITE = {
    "name": "connected",
    "expectations": [{"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}],
}
_SCIENTIST = f"""
import warnings, mlflow, pandas as pd
from sklearn.linear_model import LinearRegression
warnings.simplefilter("ignore")
frame = pd.DataFrame({{"x": [0.0, 1.0, 2.0, 3.0]}})
for slope in (1.0, 2.0):
    with mlflow.start_run():
        made = mlflow.sklearn.log_model(LinearRegression().fit(frame, frame["x"] * slope), name="model",
            signature=mlflow.models.infer_signature(frame, frame["x"]), serialization_format="cloudpickle",
            pip_requirements=["scikit-learn"])
    mlflow.register_model(made.model_uri, "{MODEL}")
mlflow.MlflowClient().set_registered_model_alias("{MODEL}", "champion", "1")
"""


@dataclass
class Installation:
    """A home folder and a project of Surefoot, and the environment in which its commands are given.

    Attributes:
        home: Folder of all state.
        project: Folder of policies and suites.
        environment: Environment variables of its commands.
        journal_url: URL of its journal with the password.
        python: Interpreter in whose environment Surefoot is installed.
    """

    home: Path
    project: Path
    environment: Mapping[str, str]
    journal_url: str = ""
    python: str = sys.executable

    @property
    def settings(self) -> Settings:
        """What `surefoot up` wrote."""
        return read_settings(self.home)

    def run(self, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in the project folder; an environment variable that is empty here is left out."""
        usual = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PREFECT_"))}
        merged = {**usual, "COLUMNS": "300", **self.environment, "SUREFOOT_HOME": str(self.home), **environment}
        return subprocess.run(
            [self.python, "-m", "surefoot", *words],
            cwd=self.project, env={name: value for name, value in merged.items() if value},
            capture_output=True, text=True, timeout=_MAX_WAIT_S, check=False,
        )  # fmt: skip


def make_project(folder: Path, policy: str = _POLICY) -> Path:
    """Make a project folder with the flows, one policy and one suite."""
    (folder / "configs").mkdir(parents=True)
    (folder / "expectations").mkdir()
    for name in ("flows", "tasks", "prefect.yaml"):
        (folder / name).symlink_to(ROOT / name)
    write_policy(folder, policy)
    return folder


def write_policy(folder: Path, policy: str = _POLICY) -> None:
    """Write the policy of the model and its suite into a project folder."""
    (folder / "configs" / f"{MODEL}.yaml").write_text(policy, encoding="utf-8")
    (folder / "expectations" / "connected.json").write_text(json.dumps(_SUITE), encoding="utf-8")


def user_environment(mlflow: Mlflow, prefect: Prefect, journal_password: str) -> dict[str, str]:
    """The environment variables of the user that Surefoot is given."""
    user, password = mlflow.bot
    return {
        "MLFLOW_TRACKING_USERNAME": user,
        "MLFLOW_TRACKING_PASSWORD": password,
        "PREFECT_API_AUTH_STRING": prefect.auth,
        JOURNAL_VARIABLE: journal_password,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }


def register_versions(mlflow: Mlflow) -> None:
    """Register two versions as their owner, set alias champion on the first, and give Surefoot the right MANAGE."""
    user, password = mlflow.admin
    own = {"MLFLOW_TRACKING_URI": mlflow.url, "MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}
    train_in_subprocess(sys.executable, own)
    mlflow.grant(MODEL, "MANAGE")


def train_in_subprocess(python: str, own: Mapping[str, str]) -> None:
    """Train and register both versions with an interpreter that has MLflow and scikit-learn.

    Args:
        python: The interpreter.
        own: Environment variables that say where MLflow is, and who asks.
    """
    environment = {**os.environ, **own, "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    subprocess.run([python, "-c", _SCIENTIST], env=environment, check=True, capture_output=True, timeout=_MAX_WAIT_S)


@dataclass
class Caller:
    """One caller that asks without a pause; what it was answered, by status and version."""

    url: str
    seen: Counter[tuple[int, str]] = field(default_factory=Counter)
    _end: threading.Event = field(default_factory=threading.Event)

    def _ask(self) -> None:
        with httpx.Client(base_url=self.url, timeout=30.0, trust_env=False) as client:
            number = 0
            while not self._end.wait(_PACE_S):
                number += 1
                body = {"dataframe_records": [{"x": number % 7 / 2}]}
                headers = {"x-request-id": f"{MODEL}-{number}"}
                answer = client.post(f"/models/{MODEL}/invocations", json=body, headers=headers)
                self.seen[answer.status_code, answer.headers.get("x-model-version", "")] += 1

    @contextlib.contextmanager
    def asking(self) -> Iterator["Caller"]:
        """Ask until the end of the block."""
        thread = threading.Thread(target=self._ask)
        thread.start()
        try:
            yield self
        finally:
            self._end.set()
            thread.join()


def wait_until_served(installation: Installation) -> None:
    """Wait until reconcile has adopted the champion."""
    url = f"{installation.settings.gateway}/models/{MODEL}/route"
    deadline = time.monotonic() + _MAX_WAIT_S
    while not httpx.get(url, timeout=30.0, trust_env=False).is_success:
        if time.monotonic() > deadline:
            raise TimeoutError("the champion was never served")
        time.sleep(0.5)


def promote_by_alias(installation: Installation, mlflow: Mlflow) -> str:
    """Set alias candidate on version 2 as a data scientist does, and wait for the end; the stage it ended in."""
    mlflow.ask(
        "POST", "2.0/mlflow/registered-models/alias", name=MODEL, alias="candidate", version="2"
    ).raise_for_status()
    return wait_for_rollout_end(installation)


def wait_for_rollout_end(installation: Installation) -> str:
    """Wait until the newest rollout has ended; the stage it is in."""
    deadline, stage = time.monotonic() + _MAX_WAIT_S, ""
    while time.monotonic() < deadline:
        stage = read_last_stage(installation)
        if stage in {"Promoted", "Rejected", "RolledBack", "Aborted", "Withdrawn", "FastPromoted", "FastRolledBack"}:
            break
        time.sleep(1.0)
    return stage


def read_last_stage(installation: Installation) -> str:
    """Stage that the newest rollout is in; empty before the first."""
    journal = SqlJournal(installation.journal_url or installation.settings.journal_url, SystemClock())
    try:
        rollouts = tuple(fold_entries(MODEL, journal.read(MODEL)).rollouts.values())
    finally:
        journal.close()
    return str(rollouts[-1].stage) if rollouts else ""
