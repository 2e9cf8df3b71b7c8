"""Each version runs in the environment that it was logged with, in the gateway and in evidence, beside others."""

import json
import re
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from surefoot import wiring
from surefoot.core.domain import Stage
from surefoot.core.errors import Rejected, Unavailable
from surefoot.models.environments.version_environments import VersionEnvironments
from surefoot.rollout import adopt_champion, drive_rollout, open_promotion
from tests import local_http
from tests.fakes import POLICY
from tests.integration.registry_stack import ServedStack
from tests.integration.waiting import wait_for

MODEL = "two-environments"
ROOT = Path(__file__).parents[2]
LOCKED = re.findall(
    r"^((?:mlflow-skinny|pandas|numpy|cloudpickle)==\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE
)
"""Packages that a pyfunc needs, in the versions that are installed already, so that pip has them at hand."""

TELLS = '''
import importlib.util
from mlflow.pyfunc.model import PythonModel

class Tells(PythonModel):
    """Answers with the version of the package `scaling` that it runs on, and whether it sees ours."""

    def predict(self, context, model_input, params=None):
        import scaling
        ours = any(importlib.util.find_spec(name) for name in ("prefect", "great_expectations", "orjson"))
        return [[float(scaling.VERSION), float(ours), float(value)] for value in model_input["x"]]
'''


def _wheel(folder: Path, version: int) -> str:
    """Make a wheel of the package `scaling`, of which two versions cannot be installed beside each other."""
    folder.mkdir(exist_ok=True)
    info = f"scaling-{version}.0.dist-info"
    files = {
        "scaling.py": f"VERSION = {version}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: scaling\nVersion: {version}.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    file = folder / f"scaling-{version}.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as packed:
        for name, text in files.items():
            packed.writestr(name, text)
    return f"scaling @ {file.as_uri()}"


def _save(folder: Path, requirements: tuple[str, ...], note: str) -> Path:
    """Save a version whose answer says which version of `scaling` it runs on."""
    import mlflow.pyfunc  # noqa: PLC0415 - costs seconds
    import pandas as pd  # noqa: PLC0415 - same

    code = folder.parent / f"code-{folder.name}"
    code.mkdir(parents=True)
    (code / f"tells_{note}.py").write_text(TELLS)
    sys.path.insert(0, str(code))
    try:
        module = __import__(f"tells_{note}")
        rows = pd.DataFrame({"x": [1.0, 2.0]})
        signature = mlflow.models.infer_signature(rows, [[1.0, 2.0, 3.0]] * 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow's advice to the author of a model
            mlflow.pyfunc.save_model(
                str(folder), python_model=module.Tells(), signature=signature, code_paths=[str(module.__file__)],
                pip_requirements=[*LOCKED, *requirements],
            )  # fmt: skip
    finally:
        sys.path.remove(str(code))
    return folder


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, mlflow_server: str) -> Iterator[ServedStack]:
    """A gateway whose champion and candidate need two versions of a package; a third one needs what does not exist."""
    made = ServedStack(tmp_path_factory.mktemp("environments"), mlflow_server)
    older, newer = (_wheel(made.root / "wheels", version) for version in (1, 2))
    made.client.create_registered_model(MODEL)
    for number, wanted in (("1", (older,)), ("2", (newer,)), ("3", (older, "surefoot-no-such-package==9.9"))):
        folder = _save(made.root / "saved" / number, wanted, f"version{number}")
        run = made.client.create_run("0")
        made.client.log_artifacts(run.info.run_id, str(folder), "model")
        made.client.create_model_version(MODEL, f"{run.info.artifact_uri}/model", run_id=run.info.run_id)
    made.client.set_registered_model_alias(MODEL, "champion", "1")
    text = yaml.safe_dump({**POLICY, "model": MODEL, "serving": {"environment": "version"}})
    (made.config.configs / "policy.yaml").write_text(text)
    made.start()
    try:
        yield made
    finally:
        made.stop()
        made.client.delete_registered_model(MODEL)


def _ask(stack: ServedStack) -> list[float]:
    body = json.dumps({"dataframe_records": [{"x": 5.0}]}).encode()
    url = f"{stack.config.gateway}/models/{MODEL}/invocations"
    reply = local_http.post(url, content=body, headers={"content-type": "application/json"}, timeout=60.0)
    assert reply.status_code == 200, reply.text
    (answer,) = reply.json()["predictions"]
    return list(answer)


@pytest.mark.sweep("environments")
def test_champion_and_candidate_run_on_their_own_packages(stack: ServedStack) -> None:
    """Both versions are loaded, asked for evidence and served, each with its own package and none of ours."""
    with wiring.open_ports(stack.config, "test") as ports:
        assert ports.trial(MODEL, ports.registry.resolve(MODEL, "1")) == ""
        wait_for(lambda: adopt_champion(ports, MODEL) is not None)
        assert _ask(stack) == [1.0, 0.0, 5.0]
        rollout = open_promotion(ports, wiring.promotion_request(stack.config, MODEL, "2", "a test"))
        assert ports.ledger(MODEL).open == rollout
        candidate = ports.ledger(MODEL).rollouts[rollout].opened.candidate
    scorer = wiring.make_version_processes(stack.config).start_scorer(MODEL, candidate)
    try:
        assert scorer.predict([{"x": 5.0}]) == [[2.0, 0.0, 5.0]]
    finally:
        scorer.close()
    built = [path for path in (stack.config.home / "environments").iterdir() if (path / "pyvenv.cfg").is_file()]
    assert len(built) == 2


@pytest.mark.sweep("environments")
def test_a_package_that_does_not_exist_rejects_the_version_at_open(stack: ServedStack) -> None:
    """The rollout ends as Rejected before any traffic, and its reason names the package; the champion serves on."""
    with wiring.open_ports(stack.config, "test") as ports:
        if (opened := ports.ledger(MODEL).open) is not None:
            stack.command("abort", MODEL, "--reason", "a test")
            drive_rollout(ports, MODEL, until=lambda ledger: ledger.open != opened)
        rollout = open_promotion(ports, wiring.promotion_request(stack.config, MODEL, "3", "a test"))
        found = ports.ledger(MODEL).rollouts[rollout]
    assert found.stage is Stage.REJECTED
    assert "there is no package surefoot-no-such-package==9.9 for" in found.reason
    assert _ask(stack) == [1.0, 0.0, 5.0]


@pytest.mark.sweep("environments")
def test_a_restarted_gateway_serves_from_the_same_environment(stack: ServedStack) -> None:
    """What was built is used again: a gateway that is killed and started serves without building anything."""
    before = {path: path.stat().st_mtime_ns for path in (stack.config.home / "environments").glob("*.log")}
    stack.kill()
    stack.start()
    wait_for(lambda: (stack.health() or {}).get("status") == "ok")
    assert _ask(stack) == [1.0, 0.0, 5.0]
    assert {path: path.stat().st_mtime_ns for path in (stack.config.home / "environments").glob("*.log")} == before


@pytest.mark.sweep
def test_one_build_serves_all_who_wait(stack: ServedStack, tmp_path: Path) -> None:
    """A second process that asks while an environment is built waits for that build; without patience it is told so."""
    model = stack.root / "saved" / "1"
    (stack.config.home / "environments").mkdir(exist_ok=True)
    folder = tmp_path / "environments"
    impatient = VersionEnvironments(folder, 0.0)
    with pytest.raises(Unavailable, match="its environment is being built"):
        impatient.find_python(model)
    python = VersionEnvironments(folder, 500.0).find_python(model)
    said = subprocess.run(
        [python, "-I", "-c", "import scaling; print(scaling.VERSION)"], capture_output=True, check=True
    )
    assert said.stdout.split() == [b"1"]
    assert len([path for path in folder.iterdir() if path.suffix == ".log"]) == 1
    assert impatient.find_python(model) == python


@pytest.mark.sweep
def test_a_build_that_is_killed_is_begun_again(tmp_path: Path) -> None:
    """Half of an environment is never used: after a kill in its middle the next one who asks builds it whole."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "requirements.txt").write_text(f"{_wheel(tmp_path / 'wheels', 1)}\n")
    folder = tmp_path / "environments"
    python = VersionEnvironments(folder, 300.0).find_python(model)
    half = python.parents[1]
    shutil.move(half, folder / f".{half.name}")
    (folder / f".{half.name}" / "bin" / "python").unlink()
    again = VersionEnvironments(folder, 300.0).find_python(model)
    assert again == python
    assert subprocess.run([again, "-I", "-c", "import scaling"], check=False).returncode == 0


@pytest.mark.sweep
def test_an_environment_that_cannot_be_built_says_why_each_time(tmp_path: Path) -> None:
    """Two requirements that contradict each other are one line, and it is tried again when it is asked for again."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "requirements.txt").write_text(f"{LOCKED[0]}\n{LOCKED[0]}.1\n")
    environments = VersionEnvironments(tmp_path / "environments", 300.0)
    for _ in range(2):
        with pytest.raises(Rejected, match="its environment cannot be built") as told:
            environments.find_python(model)
        assert "\n" not in str(told.value)
    (model / "requirements.txt").write_text(f"{_wheel(tmp_path / 'wheels', 1)}\n")
    assert environments.find_python(model).exists()
