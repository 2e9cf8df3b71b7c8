"""Engine `kubernetes` from the commands: status, a rollback with everything else down, and what doctor finds."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from surefoot.cli.connect.doctor_report import FindingLevel, _engines
from surefoot.core.serving_engines.engine_abilities import KubernetesKind
from surefoot.settings import Settings
from tests.commands import run_command
from tests.conftest import free_port
from tests.fakes import POLICY
from tests.integration.engine_harness import CANDIDATE, CHAMPION
from tests.integration.kubernetes_api_server import READER, ROUTES, write_kubeconfig
from tests.integration.kubernetes_harness import KubernetesHarness, kubernetes_engine
from tests.integration.ramping_rollout import open_ramping_rollout

if TYPE_CHECKING:
    import subprocess


@pytest.fixture
def route(tmp_path: Path) -> Iterator[KubernetesHarness]:
    """An HTTPRoute that names three versions."""
    with kubernetes_engine(KubernetesKind.HTTPROUTE, tmp_path / "cluster") as made:
        yield made


class CommandStack:
    """A journal, and a cluster in which the candidate has a quarter of the requests; nothing else runs."""

    def __init__(self, engine: KubernetesHarness, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine = engine
        kubeconfig = write_kubeconfig(root / "kubeconfig", engine.url)
        dead = f"http://127.0.0.1:{free_port()}"
        self.config = Settings(root / "home", root, dead, dead, dead, "token")
        self.config.save()
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        self.environment = {**os.environ, "SUREFOOT_HOME": str(self.config.home), "COLUMNS": "500"}
        old, new = engine.known[CHAMPION], engine.known[CANDIDATE]
        open_ramping_rollout(self.config, root, policy_of(), old, new)

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in a process of its own."""
        return run_command(*words, environment=self.environment)

    def answering(self) -> set[str]:
        """Versions that answer callers."""
        return {one.version for one in self.engine.ask_all([f"N{number}" for number in range(60)])}


def policy_of() -> dict[str, Any]:
    """A policy of a model that a cluster serves."""
    where = {"kind": "httproute", "namespace": "models", "name": "flights", "backend": "flights-v{version}"}
    traffic = {"requests_per_minute": 600, "candidate_errors_reach_callers": True, "kubernetes": where}
    made: dict[str, Any] = {**POLICY, "model": "flights", "traffic": {"engine": "kubernetes", **traffic}}
    del made["unit"]
    return made


def test_a_rollback_needs_the_journal_and_the_cluster_alone(
    route: KubernetesHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all else down, a move by hand is told, and a rollback that the cluster refuses exits with 4 and repeats."""
    stack = CommandStack(route, tmp_path, monkeypatch)
    assert stack.answering() == {CHAMPION, CANDIDATE}
    route.move_by_hand()
    seen = stack.command("status", "flights")
    assert "the HTTPRoute serves version 2, the journal says version 1, and version 2 at 25%" in seen.stdout
    write_kubeconfig(tmp_path / "kubeconfig", route.url, READER)
    said = stack.command("rollback", "flights", "--reason", "it is wrong")
    assert said.returncode == 4
    assert "does not let us update HTTPRoute models/flights (403)" in said.stderr
    assert stack.answering() == {CANDIDATE}
    write_kubeconfig(tmp_path / "kubeconfig", route.url)
    said = stack.command("rollback", "flights", "--reason", "it is wrong")
    assert said.returncode == 0, said.stderr
    assert "ended as RolledBack" in said.stdout
    assert stack.answering() == {CHAMPION}


def engine_findings(config: Settings) -> list[tuple[FindingLevel, str]]:
    """What doctor says of engines."""
    return [(one.level, one.text) for one in _engines(config)]


def test_doctor_names_what_is_missing(
    route: KubernetesHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A route that may be changed is one line; so is a missing right, version, route, or kubeconfig."""
    config = Settings(tmp_path / "home", tmp_path, "", "", "", "token")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "flights.yaml").write_text(yaml.safe_dump(policy_of()))
    monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path / "kubeconfig", route.url)))
    has = "flights-v1 at 100, flights-v2 at 0, flights-v3 at 0"
    fine = f"model flights: HTTPRoute models/flights has {has}, and may be changed"
    writes = route.cluster.writes
    assert engine_findings(config) == [(FindingLevel.OK, fine)]
    assert route.cluster.writes == writes
    write_kubeconfig(tmp_path / "kubeconfig", route.url, READER)
    faults = engine_findings(config)
    write_kubeconfig(tmp_path / "kubeconfig", route.url)
    rules = route.cluster.objects[ROUTES]["spec"]["rules"]
    route.cluster.objects[ROUTES]["spec"]["rules"] = rules[1:]
    faults += engine_findings(config)
    route.cluster.objects.clear()
    faults += engine_findings(config)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    faults += engine_findings(config)
    for (level, text), says in zip(
        faults, ("does not let us update", "names a backend such as", "has no HTTPRoute", "no credentials"), strict=True
    ):
        assert level is FindingLevel.FAULT
        assert says in text
        assert "\n" not in text
