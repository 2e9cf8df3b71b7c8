"""A real MLflow server and a real gateway in a process of its own, with versions of two registered models."""

import contextlib
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import psutil
import yaml

from surefoot import wiring
from surefoot.core.journal.events import decode_event
from surefoot.core.journal.fallback_events import FallbackDrilled
from surefoot.settings import Settings
from tests import local_http
from tests.commands import run_command
from tests.conftest import free_port
from tests.fakes import POLICY
from tests.integration.gateway_harness import fails, quits, save_pyfunc
from tests.integration.gateway_process import TOKEN
from tests.integration.waiting import wait_for

MODEL = "flights"
GOOD, FAILING, QUITTING, ODD, BROKEN = "1", "2", "3", "4", "5"


def picky(frame: pd.DataFrame) -> object:
    """Answer two numbers; raise for a large x, as a champion that has become sick."""
    if (frame["x"] > 2.0).any():
        raise RuntimeError("the feature store is down")
    return frame[["x", "y"]].to_numpy()


class ServedStack:
    """A real MLflow server and a real gateway with a champion, a candidate, and versions to fall back on."""

    def __init__(self, root: Path, mlflow_server: str) -> None:
        from mlflow import MlflowClient  # noqa: PLC0415 - costs seconds

        self.root, self.base = root, f"base-{uuid4().hex[:8]}"
        self.client = MlflowClient(tracking_uri=mlflow_server, registry_uri=mlflow_server)
        self.config = Settings(
            root / "home", root / "project", mlflow_server, f"http://127.0.0.1:{free_port()}",
            f"http://127.0.0.1:{free_port()}", TOKEN,
        )  # fmt: skip
        self.config.save()
        (self.config.project / "configs").mkdir(parents=True)
        (self.config.project / "expectations").mkdir()
        (self.config.project / "expectations" / "m.json").write_text('{"name": "m", "expectations": []}')
        self.gateway: subprocess.Popen[bytes] | None = None

    def register(self) -> None:
        """Save every version and register it."""
        answers: dict[tuple[str, str], Any] = {
            (MODEL, "1"): picky,
            (MODEL, "2"): lambda frame: frame[["y", "x"]].to_numpy(),
            (self.base, GOOD): lambda frame: [[0.75, 0.25]] * len(frame),
            (self.base, FAILING): fails,
            (self.base, QUITTING): quits,
            (self.base, ODD): lambda frame: frame["x"],
            (self.base, BROKEN): fails,
        }
        for (model, number), answer in answers.items():
            folder = self.folder(model, number)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # MLflow's advice to the author of a model
                save_pyfunc(folder, answer)
            if (model, number) == (self.base, BROKEN):
                (folder / "MLmodel").write_text("flavors: {}\n")
            if number == "1":
                self.client.create_registered_model(model)
            run = self.client.create_run("0")
            self.client.log_artifacts(run.info.run_id, str(folder), "model")
            self.client.create_model_version(model, f"{run.info.artifact_uri}/model", run_id=run.info.run_id)
        self.client.set_registered_model_alias(MODEL, "champion", "1")

    def folder(self, model: str, number: str) -> Path:
        """Where a version was saved."""
        return self.root / "models" / f"{model}-{number}"

    def policy(self, number: str) -> None:
        """Write a policy whose fallback is a version."""
        text = yaml.safe_dump({**POLICY, "model": MODEL, "fallback": {"pyfunc": f"models:/{self.base}/{number}"}})
        (self.config.configs / f"{MODEL}.yaml").write_text(text)

    def start(self) -> None:
        """Start the gateway, and wait until it answers."""
        with (self.root / "gateway.log").open("ab") as log:
            self.gateway = subprocess.Popen(
                [sys.executable, "-m", "surefoot", "gateway", "--workers", "1"],
                env={**os.environ, "SUREFOOT_HOME": str(self.config.home)}, stdout=log, stderr=log,
            )  # fmt: skip
        wait_for(lambda: self.health() is not None)

    def stop(self) -> None:
        """Stop the gateway."""
        if self.gateway is not None:
            self.gateway.terminate()
            self.gateway.wait(60)

    def health(self) -> Any:
        """What the gateway says; None while it does not answer."""
        with contextlib.suppress(Exception):
            return local_http.get(f"{self.config.gateway}/health").json()
        return None

    def wait_for_fallback(self, number: str) -> None:
        """Wait until the gateway has loaded a version as fallback."""
        wanted = {"uri": f"models:/{self.base}/{number}", "loaded": True}
        wait_for(lambda: (self.health() or {}).get("models", {}).get(MODEL, {}).get("fallback_version") == wanted)

    def ask(self, x: float) -> Any:
        """Score a row; the champion fails one with a large x."""
        body = json.dumps({"dataframe_records": [{"x": x, "y": 1.0}]}).encode()
        url = f"{self.config.gateway}/models/{MODEL}/invocations"
        return local_http.post(url, content=body, headers={"content-type": "application/json"}, timeout=60.0)

    def drills(self) -> list[FallbackDrilled]:
        """Every drill that was journalled."""
        with wiring.open_journal(self.config) as journal:
            events = [decode_event(one.kind, one.data) for one in journal.read(MODEL)]
        return [one for one in events if isinstance(one, FallbackDrilled)]

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in a process of its own."""
        return run_command(*words, environment={**os.environ, "SUREFOOT_HOME": str(self.config.home), "COLUMNS": "500"})

    def close(self) -> None:
        """Stop the gateway, and remove the models: other tests register some of these names."""
        self.stop()
        for model in (MODEL, self.base):
            self.client.delete_registered_model(model)

    def kill(self) -> None:
        """Kill the gateway with all its processes, at once."""
        if self.gateway is not None:
            for process in psutil.Process(self.gateway.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self.gateway.kill()
            self.gateway.wait()
