"""A LightGBM model, whose library Surefoot does not have, is promoted in an environment of its own."""

import json
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from surefoot import wiring
from surefoot.core.domain import Stage
from surefoot.models.environments.version_environments import VersionEnvironments
from surefoot.rollout import adopt_champion, drive_rollout, open_promotion
from tests import local_http
from tests.integration.registry_stack import ServedStack
from tests.integration.waiting import wait_for

MODEL = "own-lightgbm"
ROOT = Path(__file__).parents[2]
REQUIRED = [
    *re.findall(
        r"^((?:mlflow-skinny|pandas|numpy|scipy|cloudpickle)==\S+)",
        (ROOT / "requirements.lock").read_text(),
        re.MULTILINE,
    ),
    "lightgbm==4.7.0",
]
POLICY = {
    "model": MODEL,
    "traffic": {"requests_per_minute": 1200},
    "data": {"suite": "m", "window": "1d"},
    "gates": {"errors": {"metric": "error_rate", "margin": "10pp"}},
    "steps": [
        {"shadow": {"window": "1d", "min_requests": 50, "gates": ["errors"]}},
        {"weight": 50, "hold": {"for": "5s", "gates": ["errors"]}},
    ],
    "bake": {"for": "5s", "gates": ["errors"]},
    "serving": {"environment": "version"},
}
SUITE = {
    "name": "m",
    "expectations": [{"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}],
}
TRAIN = """
import json, sys, warnings
import lightgbm, mlflow, numpy, pandas
warnings.simplefilter("ignore")
frame = pandas.DataFrame({"x": numpy.linspace(0.0, 1.0, 400)})
for folder, slope in ((sys.argv[2], 1.0), (sys.argv[3], 2.0)):
    options = {"objective": "regression", "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(options, lightgbm.Dataset(frame, frame["x"] * slope), 50)
    signature = mlflow.models.infer_signature(frame, booster.predict(frame))
    mlflow.lightgbm.save_model(booster, folder, signature=signature, pip_requirements=json.loads(sys.argv[1]))
"""


@pytest.fixture
def stack(tmp_path: Path, mlflow_server: str) -> Iterator[ServedStack]:
    """A gateway with a LightGBM champion and another LightGBM version, trained where they will run."""
    made = ServedStack(tmp_path, mlflow_server)
    (tmp_path / "wanted").mkdir()
    (tmp_path / "wanted" / "requirements.txt").write_text("".join(f"{one}\n" for one in REQUIRED))
    python = VersionEnvironments(made.config.home / "environments", 600.0).find_python(tmp_path / "wanted")
    folders = [str(tmp_path / "saved" / number) for number in ("1", "2")]
    subprocess.run([python, "-I", "-c", TRAIN, json.dumps(REQUIRED), *folders], check=True, cwd=tmp_path)
    made.client.create_registered_model(MODEL)
    for folder in folders:
        run = made.client.create_run("0")
        made.client.log_artifacts(run.info.run_id, folder, "model")
        made.client.create_model_version(MODEL, f"{run.info.artifact_uri}/model", run_id=run.info.run_id)
    made.client.set_registered_model_alias(MODEL, "champion", "1")
    (made.config.project / "expectations" / "m.json").write_text(json.dumps(SUITE))
    (made.config.configs / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    made.start()
    try:
        yield made
    finally:
        made.stop()
        made.client.delete_registered_model(MODEL)


@contextmanager
def calling(stack: ServedStack) -> Iterator[Counter[tuple[int, str]]]:
    """A caller that asks again and again; what it was answered, by status and version."""
    seen: Counter[tuple[int, str]] = Counter()
    enough = threading.Event()

    def call() -> None:
        number = 0
        while not enough.wait(0.02):
            number += 1
            body = json.dumps({"dataframe_records": [{"x": number % 10 / 10}]}).encode()
            headers = {"content-type": "application/json", "x-request-id": f"call-{number}"}
            url = f"{stack.config.gateway}/models/{MODEL}/invocations"
            reply = local_http.post(url, content=body, headers=headers, timeout=60.0)
            seen[reply.status_code, reply.headers.get("x-model-version", "")] += 1

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield seen
    finally:
        enough.set()
        thread.join()


@pytest.mark.sweep
def test_a_lightgbm_model_in_an_environment_of_its_own_is_promoted_without_a_failed_call(stack: ServedStack) -> None:
    """Both versions answer callers through the whole rollout, which ends as Promoted, and no call fails."""
    with wiring.open_ports(stack.config, "test") as ports:
        wait_for(lambda: adopt_champion(ports, MODEL) is not None)
        with calling(stack) as seen:
            wait_for(lambda: seen[200, "1"] >= 60)
            rollout = open_promotion(ports, wiring.promotion_request(stack.config, MODEL, "2", "a test"))
            drive_rollout(ports, MODEL, until=lambda ledger: ledger.open is None)
            wait_for(lambda: seen[200, "2"] >= 60)
        found = ports.ledger(MODEL).rollouts[rollout]
    assert found.stage is Stage.PROMOTED, found.reason
    assert set(seen) == {(200, "1"), (200, "2")}
    environments = stack.config.home / "environments"
    assert len([path for path in environments.iterdir() if (path / "pyvenv.cfg").is_file()]) == 1
