"""A fallback that is an MLflow version: drilled and journalled, loaded by a real gateway, kept without MLflow."""

import contextlib
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import psutil
import pytest
import yaml

from surefoot import wiring
from surefoot.adapters.mlflow.artifacts import directory_digest
from surefoot.core.domain import Stage
from surefoot.core.errors import FallbackInvalid, RegistryUnavailable
from surefoot.core.fallback import FallbackReference
from surefoot.core.journal.events import RolloutOpened, decode_event
from surefoot.core.journal.fallback_events import FallbackDrilled
from surefoot.rollout import adopt_champion, drill, drive_rollout, end_rollout, is_drill_due, open_promotion
from surefoot.settings import Settings
from tests import local_http
from tests.conftest import free_port
from tests.fakes import POLICY
from tests.integration.gateway_harness import fails, quits, save_pyfunc, wait_for
from tests.integration.gateway_process import TOKEN
from tests.integration.test_standby import said

MODEL = "flights"
GOOD, FAILING, QUITTING, ODD, BROKEN = "1", "2", "3", "4", "5"
FROM_VERSION = (200, "fallback", "pyfunc", None)
LOGGED = 5


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
        environment = {**os.environ, "SUREFOOT_HOME": str(self.config.home), "COLUMNS": "500"}
        command = [sys.executable, "-m", "surefoot", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, mlflow_server: str) -> Iterator[ServedStack]:
    """A gateway whose champion was adopted, and a few logged requests."""
    made = ServedStack(tmp_path_factory.mktemp("fallback"), mlflow_server)
    made.register()
    made.start()
    try:
        with wiring.open_ports(made.config, "test") as ports:
            adopt_champion(ports, MODEL)
        for number in range(LOGGED):
            assert made.ask(number / 10.0).status_code == 200
        yield made
    finally:
        made.stop()


def test_a_rollout_resolves_drills_and_journals_the_version(stack: ServedStack) -> None:
    """Its digest stands in the journal; the gateway has it in a process of its own, for what no other can answer."""
    stack.policy(GOOD)
    assert stack.gateway is not None
    before = len(psutil.Process(stack.gateway.pid).children(recursive=True))
    assert stack.ask(3.0).status_code == 400
    with wiring.open_ports(stack.config, "test") as ports:
        rollout = open_promotion(ports, wiring.promotion_request(stack.config, MODEL, "2", "a test"))
        ledger = ports.ledger(MODEL)
        opened = ledger.rollouts[rollout].opened
        end_rollout(ports, MODEL, Stage.ABORTED, "a test")
        drive_rollout(ports, MODEL, until=lambda ledger: not ledger.open)
    digest = directory_digest(stack.folder(stack.base, GOOD))
    assert isinstance(opened, RolloutOpened)
    assert opened.fallback_digest == digest
    (drilled,) = stack.drills()
    assert (drilled.kind, drilled.digest, drilled.rows, drilled.problem) == ("pyfunc", digest, LOGGED, "")
    assert drilled.source == FallbackReference(stack.base, GOOD)
    stack.wait_for_fallback(GOOD)
    assert len(psutil.Process(stack.gateway.pid).children(recursive=True)) > before
    answer = stack.ask(3.0)
    assert (said(answer), answer.json()) == (FROM_VERSION, {"predictions": [[0.75, 0.25]]})
    assert said(stack.ask(1.0)) == (200, None, None, "1")
    told = stack.command("fallback", MODEL)
    assert told.returncode == 0
    assert f"pyfunc models:/{stack.base}/1; {digest}" in told.stdout
    assert f"fallback pyfunc models:/{stack.base}/1 was asked 5 logged rows: each answer will do" in told.stdout


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        (FAILING, "of them: RuntimeError: no such tree"),
        (ODD, "it answers a number, and the champion answers a list of 2 numbers"),
    ],
)
def test_a_poor_version_is_told_before_it_is_needed(stack: ServedStack, number: str, problem: str) -> None:
    """A drill that fails is one line in command, journal and status; the version is the fallback even so."""
    stack.policy(number)
    told = stack.command("fallback", MODEL, "--drill")
    assert told.returncode == 1
    said_by_journal = stack.drills()[-1]
    assert problem in said_by_journal.problem
    assert "\n" not in said_by_journal.problem
    assert problem in told.stdout
    assert problem in stack.command("status", "--json").stdout
    stack.wait_for_fallback(number)


@pytest.mark.parametrize(
    ("number", "problem"),
    [(BROKEN, "cannot be loaded"), (QUITTING, "SystemExit: 3"), ("99", "has no version 99")],
)
def test_a_version_that_cannot_be_loaded_is_refused(stack: ServedStack, number: str, problem: str) -> None:
    """`plan`, the command and a promotion say it in one line; nothing is opened, and the gateway keeps what it has."""
    stack.policy(GOOD)
    with wiring.open_ports(stack.config, "test") as ports:
        drill(ports, MODEL)
        stack.wait_for_fallback(GOOD)
        stack.policy(number)
        head = ports.ledger(MODEL).head
        with pytest.raises(FallbackInvalid, match=problem) as refused:
            open_promotion(ports, wiring.promotion_request(stack.config, MODEL, "2", "a test", force=True))
        assert "\n" not in str(refused.value)
        assert ports.ledger(MODEL).head == head
        found = drill(ports, MODEL)
        ledger = ports.ledger(MODEL)
    assert found is not None
    assert found.is_unusable
    assert problem in found.problem
    assert ledger.fallback is not None
    assert ledger.fallback.version.number == GOOD
    assert said(stack.ask(3.0)) == FROM_VERSION
    told = stack.command("plan", MODEL, "2")
    assert told.returncode == 2
    assert problem in told.stdout + told.stderr


def test_without_mlflow_the_fallback_answers_and_a_drill_waits(stack: ServedStack) -> None:
    """A gateway that is started again loads it from its own copy; the outage is no fault of the fallback."""
    stack.policy(GOOD)
    with wiring.open_ports(stack.config, "test") as ports:
        drill(ports, MODEL)
    stack.wait_for_fallback(GOOD)
    drills = len(stack.drills())
    stack.stop()
    known = stack.config
    stack.config = replace(known, mlflow=f"http://127.0.0.1:{free_port()}")
    stack.config.save()
    try:
        stack.start()
        stack.wait_for_fallback(GOOD)
        assert said(stack.ask(3.0)) == FROM_VERSION
        with wiring.open_ports(stack.config, "test", 1.0) as ports, pytest.raises(RegistryUnavailable):
            drill(ports, MODEL)
        assert len(stack.drills()) == drills
    finally:
        stack.config = known
        known.save()


def test_another_version_in_the_policy_is_drilled_at_once(stack: ServedStack) -> None:
    """A drill is due when the policy names another version than the last drill, and a day after that."""
    stack.policy(GOOD)
    with wiring.open_ports(stack.config, "test") as ports:
        drill(ports, MODEL)
        ledger = ports.ledger(MODEL)
    assert ledger.drilled is not None
    at = ledger.drilled[1]
    same = FallbackReference(stack.base, GOOD)
    assert not is_drill_due(ledger, at + 1.0, same)
    assert is_drill_due(ledger, at + 1.0, FallbackReference(stack.base, ODD))
    assert is_drill_due(ledger, at + 86400.0, same)
