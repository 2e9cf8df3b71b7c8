"""A promotion and its rollback, with one fault of the line to MLflow at each of its HTTP calls."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from surefoot.adapters.mlflow.registry import MlflowRegistry
from surefoot.core.errors import AliasDrift, OutcomeUnknown, Rejected, SurefootError, Unavailable
from surefoot.core.journal.ledger import Ledger
from surefoot.rollout import (
    Ports,
    drive_rollout,
    journal_model_drift,
    list_pending_alias_changes,
    open_promotion,
    open_rollback,
)
from tests.fakes import POLICY, Scenario
from tests.fault.registry_line import Line
from tests.sweeps import swept

FAULTS = ["500-before", "500-after", "drop-before", "drop-after", "hang-after", "403"]


def _fetch(model: str, number: str) -> tuple[Path, str]:
    """Digest a version that has no files: its name stands for them."""
    return Path(), "sha256:" + hashlib.sha256(f"{model} {number}".encode()).hexdigest()


@pytest.fixture(scope="module")
def line(mlflow_server: str) -> Iterator[Line]:
    """A line to a healthy MLflow."""
    opened = Line(mlflow_server)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def model(mlflow_server: str) -> str:
    """A model with two versions; each run sets its aliases."""
    from mlflow import MlflowClient  # noqa: PLC0415 - costs seconds

    client, name = MlflowClient(mlflow_server, mlflow_server), f"m-{uuid4().hex}"
    client.create_registered_model(name)
    for _ in range(2):
        client.create_model_version(name, "s3://nowhere/model")
    return name


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")


class Installation:
    """A real registry behind a spoiled line, with everything else in memory, and what commands have said."""

    def __init__(self, line: Line, target: str, model: str) -> None:
        self.model, self.line = model, line
        self.direct = MlflowRegistry(target, _fetch)
        for alias, number in (("champion", "1"), ("candidate", "2"), ("previous", None)):
            self.direct.set_alias(model, alias, number)
        self.env = Scenario(policy={**POLICY, "model": model})
        self.said: list[SurefootError] = []
        line.fail({})

    def ports(self) -> Ports:
        """The ports of a new process."""
        return replace(self.env.ports(), registry=MlflowRegistry(self.line.url, _fetch, deadline_s=3.0))

    def promote(self, ports: Ports) -> Ledger:
        """Promote version 2, or go on with that."""
        if not ports.ledger(self.model).rollouts:
            open_promotion(ports, self.env.request())
        return drive_rollout(ports, self.model, until=lambda ledger: not ledger.open, patience=1.0)

    def roll_back(self, ports: Ports) -> Ledger:
        """Take the promoted version back, or go on with that."""
        ledger = ports.ledger(self.model)
        if ledger.champion is not None and ledger.champion.number == "2" and not ledger.open:
            open_rollback(ports, self.model, "operator")
        return drive_rollout(ports, self.model, until=lambda ledger: not ledger.open, patience=1.0)

    def run(self, faults: dict[int, str]) -> Ledger:
        """Promote and roll back; a command that fails is typed again, then `reconcile` compares twice."""
        self.line.fail(faults)
        for command in (self.promote, self.roll_back):
            for _ in range(4):
                try:
                    command(self.ports())
                except SurefootError as error:
                    self.said.append(error)
                else:
                    break
        for _ in range(2):
            journal_model_drift(self.ports(), self.model)
        return self.ports().ledger(self.model)


@pytest.mark.parametrize("fault", [pytest.param(one, marks=pytest.mark.sweep(f"registry {one}")) for one in FAULTS])
def test_one_fault_at_any_call_has_one_end(line: Line, mlflow_server: str, model: str, fault: str) -> None:
    """Whatever call it meets: one promotion, one rollback, no alias left wrong, and an error that says what to do."""
    calm = Installation(line, mlflow_server, model)
    calm.run({})
    calls, aliases = line.calls, calm.direct.aliases(model)
    assert aliases == {"champion": "1"}
    assert calls > 20
    for number in swept(calls, FAULTS.index(fault)):
        made = Installation(line, mlflow_server, model)
        ledger = made.run({number: fault})
        case = (fault, number)
        ended = [str(one.data["sink"]) for one in made.env.journal.entries if one.kind == "RolloutEnded"]
        live = made.env.traffic.split
        assert live is not None, case
        assert (live.champion.number, live.candidate, ledger.open) == ("1", None, ""), case
        assert ended in (["Promoted", "FastRolledBack"], ["Aborted"]), case
        # Only what MLflow refuses outright may end a promotion: a fault of the line never does.
        assert ended[0] == "Promoted" or fault == "403", case
        assert made.direct.aliases(model).get("champion") == "1", case
        assert not list_pending_alias_changes(ledger), case
        assert not ledger.drifts, case
        kinds = (Unavailable, OutcomeUnknown) if fault != "403" else (Rejected, AliasDrift)
        assert all(isinstance(error, kinds) and error.exit_code in {2, 3, 4} for error in made.said), (case, made.said)
