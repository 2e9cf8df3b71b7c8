"""Corner cases on real MLflow models: found in the shadow of a real rollout, shown, and no part of the traffic."""

import json
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pytest
import yaml

from surefoot import wiring
from surefoot.core.domain import Outcome, Stage
from surefoot.core.journal.events import GateJudged, decode_event
from surefoot.core.judging.corner_answers import CornerAnswers
from surefoot.core.judging.evidence_json import decode_evidence
from surefoot.rollout import adopt_champion, drive_rollout, open_promotion
from tests import local_http
from tests.fakes import POLICY
from tests.integration.registry_stack import ServedStack
from tests.integration.waiting import wait_for

ROWS = 12
CARRIERS = ("AA", "UA")
FRAME = pd.DataFrame({"carrier": ["AA", "UA"], "distance": [200.0, 800.0], "seats": [100, 180]})
CORNERS = {
    "rows": ROWS,
    "empty": ["carrier"],
    "extremes": ["distance"],
    "unseen": ["carrier"],
    "drawn": ["distance", "carrier"],
    "values": {"distance": [5000.0]},
    "answers": {"min": 0, "max": 1},
}


def good(frame: pd.DataFrame) -> object:
    """Answer every row; unknown carriers have a rate of their own."""
    return frame["carrier"].map({"AA": 0.2, "UA": 0.3}).fillna(0.25)


def brittle(frame: pd.DataFrame) -> object:
    """Divide by the length of the carrier's name, and end the process at one distance."""
    if (frame["distance"] == 5000.0).any():
        os._exit(7)
    return frame["carrier"].map(lambda name: 0.4 / len(name))


class CornerStack(ServedStack):
    """A champion, and a candidate that breaks on corners, behind a real gateway."""

    def __init__(self, root: Path, mlflow_server: str) -> None:
        super().__init__(root, mlflow_server)
        self.model = f"corners-{uuid4().hex[:8]}"
        suite = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
        (self.config.project / "expectations" / "m.json").write_text(json.dumps({"name": "m", "expectations": [suite]}))
        policy = {**POLICY, "model": self.model, "unit": "carrier", "corners": CORNERS}
        (self.config.configs / f"{self.model}.yaml").write_text(yaml.safe_dump(policy))

    def register(self) -> None:
        """Save and register every version."""
        from mlflow.models import infer_signature  # noqa: PLC0415 - costs seconds that a collection should not
        from mlflow.pyfunc import save_model  # noqa: PLC0415 - same
        from mlflow.pyfunc.model import PythonModel  # noqa: PLC0415 - same

        class Pyfunc(PythonModel):
            def __init__(self, answer: Callable[[pd.DataFrame], object]) -> None:
                self.answer = answer

            def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - MLflow warns about types it does not know
                return self.answer(model_input)

        self.client.create_registered_model(self.model)
        for number, answer in (("1", good), ("2", brittle)):
            folder = self.folder(self.model, number)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # MLflow's advice to the author of a model
                made = Pyfunc(answer)
                signature = infer_signature(FRAME)
                save_model(str(folder), python_model=made, signature=signature, pip_requirements=["pandas"])
            run = self.client.create_run("0")
            self.client.log_artifacts(run.info.run_id, str(folder), "model")
            self.client.create_model_version(self.model, f"{run.info.artifact_uri}/model", run_id=run.info.run_id)
        self.client.set_registered_model_alias(self.model, "champion", "1")

    def close(self) -> None:
        """Stop the gateway, and remove the model."""
        self.stop()
        self.client.delete_registered_model(self.model)

    def send(self, count: int) -> None:
        """Send requests of callers."""
        url = f"{self.config.gateway}/models/{self.model}/invocations"
        for number in range(count):
            row = {"carrier": CARRIERS[number % 2], "distance": 200.0 + 10.0 * number, "seats": 100 + number}
            body = json.dumps({"dataframe_records": [row]}).encode()
            headers = {"content-type": "application/json", "x-request-id": f"r{number}"}
            assert local_http.post(url, content=body, headers=headers, timeout=60.0).status_code == 200

    def logged(self) -> int:
        """Records in the prediction log."""
        files = (self.config.log / self.model).glob("predictions-*.jsonl")
        return sum(len(file.read_bytes().splitlines()) for file in files)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, mlflow_server: str) -> Iterator[CornerStack]:
    """A gateway whose champion has answered callers."""
    made = CornerStack(tmp_path_factory.mktemp("corners"), mlflow_server)
    made.register()
    made.start()
    try:
        with wiring.open_ports(made.config, "test") as ports:
            adopt_champion(ports, made.model)
        made.send(60)
        wait_for(lambda: made.logged() == 60)
        yield made
    finally:
        made.close()


def promoted(stack: CornerStack, number: str, until: Callable[[Any], bool]) -> tuple[Any, CornerAnswers, GateJudged]:
    """The rollout of a version, what both versions made of the corners, and the verdict on it."""
    with wiring.open_ports(stack.config, "test") as ports:
        rollout = open_promotion(ports, wiring.promotion_request(stack.config, stack.model, number, "a test"))
        ledger = drive_rollout(ports, stack.model, until=until)
        events = [decode_event(one.kind, one.data) for one in ports.journal.read(stack.model)]
    (judged,) = [
        one
        for one in events
        if isinstance(one, GateJudged) and one.rollout == rollout and one.verdict.gate == "corners"
    ]
    found = decode_evidence(judged.evidence)
    assert isinstance(found, CornerAnswers)
    return ledger.rollouts[rollout], found, judged


def test_a_candidate_that_breaks_on_a_corner_is_rejected_in_the_shadow_with_the_row(stack: CornerStack) -> None:
    """It is rejected before traffic; verdict and status show the row; no record and no caller has it."""
    before = local_http.get(f"{stack.config.gateway}/health").json()
    rollout, found, judged = promoted(stack, "2", lambda ledger: not ledger.open)
    assert rollout.stage is Stage.REJECTED
    assert judged.verdict.outcome is Outcome.FAIL
    assert judged.verdict.culprit == "carrier empty"
    assert [(one.name, one.rows >= ROWS) for one in found.corners] == [
        ("carrier empty", True),
        ("distance smallest", True),
        ("distance largest", True),
        ("distance below the smallest", True),
        ("distance above the largest", True),
        ("carrier unseen", True),
        ("distance = 5000", True),
        ("distance drawn", True),
        ("carrier drawn", True),
        ("several drawn", True),
    ]
    broken = {one.name: one.broken for one in found.corners}
    assert broken["carrier empty"] == ROWS
    assert broken["distance smallest"] == broken["distance largest"] == 0
    assert broken["distance = 5000"] > 0
    first = found.samples[0]
    assert (first.changed, "ZeroDivisionError" in first.what) == ('{"carrier":""}', True)
    row = json.loads(first.row)
    number = int(first.request[1:])
    assert row == {"carrier": "", "distance": 200.0 + 10.0 * number, "seats": 100 + number}
    assert json.loads(first.champion) == 0.25
    died = next(one for one in found.samples if one.corner == "distance = 5000")
    assert "process ended" in died.what
    said = f'request {first.request} with {{"carrier":""}} instead of {{"carrier":"{CARRIERS[number % 2]}"}}: '
    assert said in judged.verdict.reason
    shown = stack.command("status", stack.model)
    assert said in " ".join(shown.stdout.split()), shown
    assert stack.logged() == 60
    assert local_http.get(f"{stack.config.gateway}/health").json()["models"].keys() == before["models"].keys()
    stack.send(1)
