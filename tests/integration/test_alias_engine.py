"""Engine `alias` from end to end: batch jobs load `models:/<model>@champion`, record what they answer; no gateway."""

import json
import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pandas as pd
import pytest
import yaml

from surefoot import wiring
from surefoot.core.domain import Outcome, Stage
from surefoot.core.errors import Rejected
from surefoot.core.journal.events import EffectIntended, SetAlias, SetSplit, decode_event
from surefoot.core.journal.ledger import Ledger
from surefoot.core.registry_drift.drift_events import DriftReaction
from surefoot.core.serving_engines.engine_abilities import EngineName
from surefoot.core.serving_engines.engine_choice import EngineChosen
from surefoot.rollout import (
    DriftRule,
    adopt_champion,
    drive_rollout,
    finish_decided_ending,
    journal_model_drift,
    open_promotion,
)
from surefoot.settings import Settings
from tests.commands import run_command
from tests.conftest import free_port
from tests.fakes import BY_ALIAS
from tests.integration.gateway_harness import save_pyfunc

if TYPE_CHECKING:
    import subprocess

ROWS = 200


class AliasStack:
    """A real MLflow server with versions of a model, and a project whose policy says `engine: alias`."""

    def __init__(self, root: Path, mlflow_server: str) -> None:
        from mlflow import MlflowClient  # noqa: PLC0415 - costs seconds

        self.root, self.model = root, f"batch-{uuid4().hex[:8]}"
        self.client = MlflowClient(tracking_uri=mlflow_server, registry_uri=mlflow_server)
        dead = f"http://127.0.0.1:{free_port()}"
        self.config = Settings(root / "home", root / "project", mlflow_server, dead, dead, "token")
        self.config.save()
        (self.config.project / "configs").mkdir(parents=True)
        (self.config.project / "expectations").mkdir()
        suite = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
        (self.config.project / "expectations" / "m.json").write_text(json.dumps({"name": "m", "expectations": [suite]}))
        gates = {"errors": {"metric": "error_rate", "margin": "20pp"}}
        self.policy = {**BY_ALIAS, "gates": gates, "model": self.model, "unit": "x", "log": {"hash": ["name"]}}
        (self.config.configs / f"{self.model}.yaml").write_text(yaml.safe_dump(self.policy))

    def register(self) -> None:
        """Save and register two versions that answer, and one that fails most rows."""

        def fails(frame: pd.DataFrame) -> object:
            if (frame["x"] > 3.0).any():
                raise RuntimeError("no such tree")
            return frame["x"]

        self.client.create_registered_model(self.model)
        answers: list[Any] = [lambda frame: frame["x"], lambda frame: frame["x"] + 0.5, fails]
        for number, answer in enumerate(answers, start=1):
            folder = self.root / "models" / str(number)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # MLflow's advice to the author of a model
                save_pyfunc(folder, answer)
            run = self.client.create_run("0")
            self.client.log_artifacts(run.info.run_id, str(folder), "model")
            self.client.create_model_version(self.model, f"{run.info.artifact_uri}/model", run_id=run.info.run_id)
        self.client.set_registered_model_alias(self.model, "champion", "1")

    def batch(self, name: str, *, age: float, **columns: Any) -> Path:
        """A table of a batch job's rows."""
        at = time.time() - age
        rows = pd.DataFrame(
            {
                "request": [f"{name}-{number}" for number in range(ROWS)],
                "at": [at - number / 100.0 for number in range(ROWS)],
                "x": [float(number % 5) for number in range(ROWS)],
                "y": [1.0] * ROWS,
                "name": ["Ada"] * ROWS,
            }
        ).assign(**columns)
        file = self.root / f"{name}.parquet"
        rows.to_parquet(file)
        return file

    def records(self, kind: str = "predictions") -> list[dict[str, Any]]:
        """Every record of the log."""
        files = sorted((self.config.log / self.model).glob(f"{kind}-*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in a process of its own."""
        return run_command(*words, environment={**os.environ, "SUREFOOT_HOME": str(self.config.home), "COLUMNS": "500"})

    def alias(self) -> str:
        """The version that applications load."""
        return str(self.client.get_model_version_by_alias(self.model, "champion").version)

    def events(self) -> list[Any]:
        """What the journal holds."""
        with wiring.open_journal(self.config) as journal:
            return [decode_event(one.kind, one.data) for one in journal.read(self.model)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, mlflow_server: str) -> Iterator[AliasStack]:
    """A model whose champion has answered a batch that was recorded."""
    made = AliasStack(tmp_path_factory.mktemp("alias"), mlflow_server)
    made.register()
    with wiring.open_ports(made.config, "test") as ports:
        adopt_champion(ports, made.model)
    said = made.command("record", made.model, "1", "--data", str(made.batch("night", age=3600.0)), "--log")
    assert said.returncode == 0, said.stderr
    assert f"{ROWS} requests that version 1 answered, and 0 labels, are in the log" in said.stdout
    yield made
    made.client.delete_registered_model(made.model)


def baking(ledger: Ledger) -> bool:
    """Whether a rollout bakes."""
    return ledger.rollout is None or ledger.rollout.stage is Stage.BAKING


def test_recorded_answers_are_what_the_gateway_would_have_logged(stack: AliasStack) -> None:
    """Each row is a record of the split that was in force, hashed as the policy says; a second run is refused."""
    records = [one for one in stack.records() if one["request"].startswith("night")]
    assert len(records) == ROWS
    assert {(one["version"], one["answered_by"], one["arm"], one["error"]) for one in records} == {
        ("1", "1", "champion", None)
    }
    assert [one["prediction"] for one in records] == [float(number % 5) for number in range(ROWS)]
    assert {one["unit"] for one in records} == {"0", "1", "2", "3", "4"}
    assert all(len(one["features"]["name"]) == 24 for one in records)
    again = stack.command("record", stack.model, "1", "--data", str(stack.root / "night.parquet"), "--log")
    assert (again.returncode, len(stack.records())) == (2, len(records))
    assert "has request 'night-0' already: nothing was written" in again.stderr


def test_a_version_is_promoted_baked_and_rolled_back_by_alias_alone(stack: AliasStack) -> None:
    """Each stage but the ramp is passed without a gateway; a rollback waits for MLflow with exit 4, and is repeated."""
    with wiring.open_ports(stack.config, "test") as ports:
        request = wiring.promotion_request(stack.config, stack.model, "2", "a test")
        rollout = open_promotion(ports, request)
        ledger = drive_rollout(ports, stack.model, until=baking, wait=False)
        assert ledger.rollout is not None, ledger.rollouts[rollout].reason
        assert (stack.alias(), ledger.engine.name) == ("2", EngineName.ALIAS)
        told = stack.batch("morning", age=-5.0, prediction=[0.5] * ROWS, error=[None] * (ROWS - 1) + ["KeyError"])
        said = stack.command("record", stack.model, "2", "--data", str(told), "--log", "--answers", "prediction")
        assert said.returncode == 0, said.stderr
        assert "version 2 has no answer to 1 of 200: KeyError" in said.stdout
        assert {one["rollout"] for one in stack.records() if one["version"] == "2"} == {rollout}
        time.sleep(6.0)  # until these requests have come
        ledger = drive_rollout(
            ports, stack.model, until=lambda seen: bool(seen.rollout and seen.rollout.verdicts), wait=False
        )
        assert ledger.rollout is not None
        verdict = ledger.rollout.verdicts["errors"]
        assert verdict.n >= ROWS - 1
        assert verdict.outcome is not Outcome.NO_DATA
    events = stack.events()
    chosen = [one for one in events if isinstance(one, EngineChosen)]
    assert chosen == [EngineChosen(EngineName.ALIAS, {}, EngineName.GATEWAY)]
    effects = [one.effect for one in events if isinstance(one, EffectIntended)]
    assert all(one.weight == 0.0 and one.candidate is None for one in effects if isinstance(one, SetSplit))
    assert SetAlias("champion", "2", "1") in effects

    up = stack.config
    replace(up, mlflow=f"http://127.0.0.1:{free_port()}").save()
    down = stack.command("rollback", stack.model, "--reason", "it is wrong")
    assert down.returncode == 4, down.stderr
    assert "'reconcile' finishes the rest, or run the command again" in down.stderr
    seen = stack.command("status", stack.model)
    assert seen.returncode == 1
    assert (
        "traffic is not back at version 1 as far as is known: 'reconcile' repeats it until alias champion"
        in seen.stdout
    )
    assert stack.alias() == "2"
    up.save()
    with wiring.open_ports(stack.config, "test") as ports:
        finish_decided_ending(ports, stack.model)
        ended = ports.ledger(stack.model)
        assert journal_model_drift(ports, stack.model) == []
    assert (stack.alias(), ended.open) == ("1", "")
    assert ended.rollouts[rollout].stage is Stage.ROLLED_BACK


def test_a_person_who_moves_the_alias_is_told_and_not_fought(stack: AliasStack) -> None:
    """An alias that was moved by hand stays as it is, is a drift in status, and `repair` sets it back."""
    stack.client.set_registered_model_alias(stack.model, "champion", "3")
    with wiring.open_ports(stack.config, "test") as ports:
        adopt_champion(ports, stack.model)
        lines = journal_model_drift(ports, stack.model)
    assert stack.alias() == "3"
    assert any("alias champion should be 1, it points to version 3" in line for line in lines)
    assert "alias champion serves version 3, the journal says version 1" in stack.command("status", stack.model).stdout
    assert stack.command("repair", stack.model).returncode == 0
    assert stack.alias() == "1"
    with wiring.open_ports(stack.config, "test") as ports:
        assert journal_model_drift(ports, stack.model) == []


def test_a_policy_has_a_moved_alias_set_back(stack: AliasStack) -> None:
    """Under `on_drift: revert` MLflow says again what is served, and `status` names the incident that was opened."""
    stack.client.set_registered_model_alias(stack.model, "champion", "3")
    with wiring.open_ports(stack.config, "test") as ports:
        adopt_champion(ports, stack.model)
        assert journal_model_drift(ports, stack.model, DriftRule(DriftReaction.REVERT)) == []
        assert journal_model_drift(ports, stack.model) == []
        ledger = ports.ledger(stack.model)
    assert stack.alias() == "1"
    incident = tuple(ledger.incidents.known.values())[-1]
    assert incident.opened.trigger == "drift of alias champion"
    assert f"incident {incident.name} of version 1 is open" in stack.command("status", stack.model).stdout


def test_both_versions_are_recorded_for_a_back_test(stack: AliasStack, tmp_path: Path) -> None:
    """`record` has each version score a table in a process of its own; `backtest` reads it, whatever one has failed."""
    days = pd.DataFrame(
        {
            "at": [86400.0 * 30 * number / 3000 for number in range(3000)],
            "x": [float(number % 5) for number in range(3000)],
            "y": [1.0] * 3000,
            "label": [float(number % 5) for number in range(3000)],
        }
    )
    table, out = tmp_path / "year.csv", tmp_path / "records.parquet"
    days.to_csv(table, index=False)
    for candidate, stage in (("2", "Promoted"), ("3", "Rejected")):
        said = stack.command("record", stack.model, "1", candidate, "--data", str(table), "--out", str(out))
        assert said.returncode == 0, said.stderr
        found = pd.read_parquet(out)
        assert list(found.groupby("arm")["version"].unique().map(list)) == [[candidate], ["1"]]
        assert len(found) == 2 * len(days)
        played = stack.command(
            "backtest", stack.model, "--log", str(out), "--json", "--project", str(stack.config.project)
        )
        assert played.returncode == 0, played.stderr
        assert json.loads(played.stdout)["stage"] == stage
    assert found["error"].dropna().str.contains("no such tree|not tried").all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["1"], "say where the records go"),
        (["1", "--log", "--out", "x.parquet"], "say where the records go"),
        (["1", "--out", "x.parquet"], "name two versions"),
        (["1", "1", "--out", "x.parquet"], "name two versions"),
        (["1", "2", "--log"], "name the one version that answered"),
        (["1", "2", "--out", "x.parquet", "--answers", "y"], "it goes with --log"),
        (["1", "--log", "--answers", "z"], "has no column 'z'"),
    ],
)
def test_what_record_cannot_do_is_one_line(stack: AliasStack, words: list[str], said: str) -> None:
    """Each mistake is exit 2 and one line, and nothing is written."""
    before = len(stack.records())
    file = stack.batch("mistake", age=0.0)
    found = stack.command("record", stack.model, *words, "--data", str(file))
    assert found.returncode == 2
    assert said in found.stderr
    assert len(stack.records()) == before


def test_a_draft_measures_the_loss_of_the_versions_that_it_names(stack: AliasStack, tmp_path: Path) -> None:
    """Two versions answer the sample: the spread of their difference is expected by the drafted gate of quality."""
    table = stack.root / "sample.parquet"
    days = [float(number // 20) for number in range(ROWS)]
    rows = pd.DataFrame(
        {
            "at": [1.38e9 + day * 86400.0 for day in days],
            "x": [float(number % 5) for number in range(ROWS)],
            "y": [1.0] * ROWS,
            "label": [number % 5 + 0.1 * (number // 20) for number in range(ROWS)],
        }
    )
    rows.to_parquet(table)
    words = ["draft", stack.model, "--data", str(table), "--project", str(tmp_path), "--version"]
    said = stack.command(*words, "1", "--version", "2")
    assert said.returncode == 0, said.stderr
    text = (tmp_path / "configs" / f"{stack.model}.yaml").read_text()
    (quality,) = (line for line in text.splitlines() if line.startswith("  quality:"))
    # |x - x - 0.1 d| is 0.1 d, and |x + 0.5 - x - 0.1 d| is |0.5 - 0.1 d|: their difference differs from day to day.
    differences = [abs(0.5 - 0.1 * day) - 0.1 * day for day in range(10)]
    mean = sum(differences) / 10
    spread = (sum((one - mean) ** 2 for one in differences) / 9) ** 0.5
    assert f"expect: {{ spread: {spread:.2g} }}" in quality
    assert "check:" in said.stdout
    refused = stack.command(*words, "3", "--force")
    assert refused.returncode == 0 or "answers no row" in refused.stderr


def test_a_gateways_log_is_its_own(stack: AliasStack) -> None:
    """Of a model whose engine logs each request, nothing is recorded beside."""
    file = stack.config.configs / f"{stack.model}.yaml"
    text = file.read_text()
    weights = [*BY_ALIAS["steps"], {"weight": 5, "hold": {"for": "10m", "gates": ["errors"]}}]
    traffic = {"engine": "gateway", "requests_per_minute": 600}
    file.write_text(yaml.safe_dump({**stack.policy, "traffic": traffic, "steps": weights}))
    try:
        said = stack.command("record", stack.model, "1", "--data", str(stack.batch("beside", age=0.0)), "--log")
    finally:
        file.write_text(text)
    assert said.returncode == 2
    assert "writes the prediction log itself" in said.stderr
    assert issubclass(Rejected, Exception)
