"""Models with every name that MLflow accepts are registered, served, logged, promoted and shown by commands."""

import json
import warnings
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from surefoot import wiring
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.domain import Stage
from surefoot.rollout import adopt_champion, drive_rollout, end_rollout, open_promotion
from tests import local_http
from tests.fakes import POLICY
from tests.integration.gateway_harness import save_pyfunc
from tests.integration.registry_stack import ServedStack
from tests.integration.waiting import wait_for

NAMES = (
    "catalog.schema.model",
    "Churn EU 2024",
    "[red]50% off",
    ".hidden",
    "back\\slash 'and' \"quotes\"",
    "what?now#then&a=b+c",
    "-m",
    "Größe " + "é" * 240,
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, mlflow_server: str) -> Iterator[ServedStack]:
    """A gateway that serves version 1 of each model; each policy is in a subfolder, in a file of another name."""
    made = ServedStack(tmp_path_factory.mktemp("names"), mlflow_server)
    (made.config.configs / "teams").mkdir()
    folder = made.root / "version"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice to the author of a model
        save_pyfunc(folder, lambda frame: frame["x"])
    run = made.client.create_run("0")
    made.client.log_artifacts(run.info.run_id, str(folder), "model")
    for place, name in enumerate(NAMES):
        made.client.create_registered_model(name)
        made.client.create_model_version(name, f"{run.info.artifact_uri}/model", run_id=run.info.run_id)
        _register_another(made, name, place)
        made.client.set_registered_model_alias(name, "champion", "1")
        text = yaml.safe_dump({**POLICY, "model": name})
        (made.config.configs / "teams" / f"policy-{place}.yaml").write_text(text)
    made.start()
    try:
        with wiring.open_ports(made.config, "test") as ports:
            for name in NAMES:
                adopt_champion(ports, name)
        yield made
    finally:
        made.stop()
        for name in NAMES:
            made.client.delete_registered_model(name)


def _register_another(stack: ServedStack, name: str, place: int) -> None:
    """Register a version 2 with other bytes."""
    folder = stack.root / f"other-{place}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # same
        save_pyfunc(folder, lambda frame: frame["x"] + frame["x"] * 0.0)
    (folder / "note.txt").write_text(name)
    run = stack.client.create_run("0")
    stack.client.log_artifacts(run.info.run_id, str(folder), "model")
    stack.client.create_model_version(name, f"{run.info.artifact_uri}/model", run_id=run.info.run_id)


def _post(stack: ServedStack, name: str, what: str, body: object, request: str = "") -> Any:
    headers = {"content-type": "application/json", **({"x-request-id": request} if request else {})}
    url = f"{stack.config.gateway}/models/{quote(name, safe='')}/{what}"
    return local_http.post(url, content=json.dumps(body).encode(), headers=headers, timeout=60.0)


def _ask(stack: ServedStack, name: str, request: str) -> Any:
    return _post(stack, name, "invocations", {"dataframe_records": [{"x": 2.0, "y": 1.0}]}, request)


@pytest.mark.parametrize("name", NAMES)
def test_requests_and_labels_of_every_model_are_answered_and_found(stack: ServedStack, name: str) -> None:
    """A quoted name in the address reaches the model; its request and label are read back from its own log."""
    answer = _ask(stack, name, "one")
    assert (answer.status_code, answer.json()) == (200, {"predictions": [2.0]})
    label = _post(stack, name, "labels", [{"request": "one", "label": 1.0}])
    assert label.status_code < 300, label.text
    now = wiring.make_clock(stack.config).now() + 60.0
    (found,) = PredictionLog(stack.config.log).read_requests(name, now - 3600.0, now)
    assert (found.key[0], [value for _, value in found.labels]) == ("one", [1.0])


@pytest.mark.parametrize("name", NAMES)
def test_a_rollout_of_every_model_opens_and_is_taken_back(stack: ServedStack, name: str) -> None:
    """The policy is found by the name inside; the rollout is journalled, aborted, and shown in MLflow."""
    with wiring.open_ports(stack.config, "test") as ports:
        rollout = open_promotion(ports, wiring.promotion_request(stack.config, name, "2", "a test"))
        end_rollout(ports, name, Stage.ABORTED, "a test")
        drive_rollout(ports, name, until=lambda ledger: not ledger.open)
        assert ports.ledger(name).rollouts[rollout].stage is Stage.ABORTED
    wiring.write_journal_to_mlflow(stack.config, name)
    assert stack.client.get_experiment_by_name(f"surefoot/{name}") is not None


def test_commands_show_every_model(stack: ServedStack) -> None:
    """`status`, `verify` and `history` name each model as it is, also one that looks like a terminal's markup."""
    assert [one["model"] for one in json.loads(stack.command("status", "--json").stdout)["models"]] == sorted(NAMES)
    for command in ("status", "verify"):
        done = stack.command(command)
        assert "Traceback" not in done.stderr
        assert [name for name in NAMES if name not in done.stdout] == []
    for name in ("-m", "[red]50% off"):
        assert "found version 1 as the champion" in stack.command("history", "--", name).stdout


def test_every_log_is_known_and_compacted(stack: ServedStack) -> None:
    """Each model's log is found by the name of its folder and compacted; the gateway's metrics name every model."""
    for name in NAMES:
        assert _ask(stack, name, "two").status_code == 200
    assert sorted(wiring.list_logged_models(stack.config)) == sorted(NAMES)
    for name in NAMES:
        wiring.compact_model_log(stack.config, name)
    said = local_http.get(f"{stack.config.gateway}/metrics").text
    escaped = [name.replace("\\", "\\\\").replace('"', '\\"') for name in NAMES]
    assert [name for name in escaped if f'model="{name}"' not in said] == []


@pytest.mark.sweep
def test_every_route_outlives_the_gateway(stack: ServedStack) -> None:
    """A gateway that is killed and started again serves every model from its route file, without the registry."""
    stack.kill()
    stack.start()

    def served() -> bool:
        return all(_ask(stack, name, f"again-{place}").status_code == 200 for place, name in enumerate(NAMES))

    wait_for(served)
    routes = {file.name for file in (stack.config.home / "gateway" / "routes").glob("*.json")}
    assert len(routes) == len(NAMES)
    assert "catalog.schema.model.json" in routes
