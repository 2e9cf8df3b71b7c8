"""Engine `ray` against a server with Ray Serve's REST API: its failures, and commands with everything else down."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from surefoot import wiring
from surefoot.adapters.traffic.ray_serve import RayTarget, RayTraffic
from surefoot.cli.connect.doctor_report import FindingLevel, _engines
from surefoot.core.domain import Split, Version
from surefoot.core.errors import (
    ArtifactTampered,
    GatewayUnavailable,
    OutcomeUnknown,
    Rejected,
    SurefootError,
    VersionUnavailable,
)
from surefoot.core.journal.events import SetSplit
from surefoot.rollout.advance_rollout import journal_and_apply_effect
from surefoot.settings import Settings
from tests.commands import run_command
from tests.conftest import free_port
from tests.fakes import POLICY
from tests.integration.ramping_rollout import open_ramping_rollout
from tests.integration.serve_api import TOKEN, ServeApi, serve_api

if TYPE_CHECKING:
    import subprocess

MODEL = "flights"
OLD, NEW, OTHER = (Version(number, f"sha256:{number * 64}") for number in "123")


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServeApi]:
    """Ray Serve without applications; this process has its token."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    with serve_api() as made:
        yield made


def traffic_at(port: int, root: Path, patience_s: float = 30.0) -> RayTraffic:
    """The engine of the server at a port."""
    place = RayTarget(f"http://127.0.0.1:{port}", "user", 1, 1.0, "~/models", patience_s)
    return RayTraffic(place, "http://127.0.0.1:9", root / "locks")


def split(weight: float, candidate: Version | None = NEW, generation: int = 1) -> Split:
    """A split of the two versions."""
    return Split(OLD, candidate, weight, "salt", "r1", generation)


REFUSALS = {
    "a token that is not known": ((401, b"no"), Rejected, "set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"),
    "a change that is refused": ((400, b"import_path is\nwrong"), Rejected, "refuses (400): import_path is wrong"),
    "a cluster that fails": ((500, b"lost"), OutcomeUnknown, "did not say whether it took the change: lost"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_change_that_is_not_taken_is_one_line(serve: ServeApi, tmp_path: Path, name: str) -> None:
    """Each refusal of a change is one error of ours, in one line, and the split in force stays."""
    traffic = traffic_at(serve.port, tmp_path)
    traffic.shift(MODEL, split(25.0))
    serve.failure, kind, says = REFUSALS[name]
    with pytest.raises(kind) as refused:
        traffic.shift(MODEL, split(0.0, generation=2))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert traffic.live(MODEL) == split(25.0)


def test_a_cluster_that_cannot_be_looked_at_is_one_line(
    serve: ServeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port where nothing listens, garbage, a cluster without Ray Serve and a missing token each say what to do."""
    with pytest.raises(GatewayUnavailable, match="does not answer"):
        traffic_at(free_port(), tmp_path).live(MODEL)
    serve.garbage = b"<html>"
    with pytest.raises(GatewayUnavailable, match="tells applications that cannot be read"):
        traffic_at(serve.port, tmp_path).live(MODEL)
    serve.garbage, serve.runs = b"", False
    with pytest.raises(GatewayUnavailable, match="does not run Ray Serve: start it there with 'serve start'"):
        traffic_at(serve.port, tmp_path).live(MODEL)
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "nothing"))
    with pytest.raises(Rejected, match="set RAY_AUTH_TOKEN"):
        traffic_at(serve.port, tmp_path).live(MODEL)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    serve.runs = True
    assert traffic_at(serve.port, tmp_path).live(MODEL) is None


STARTS = {
    "bytes": ("surefoot.core.errors.ArtifactTampered: 2 is not of its digest", ArtifactTampered, "not of its digest"),
    "no registry": ("surefoot.core.errors.RegistryUnavailable: no MLflow", VersionUnavailable, "no MLflow: nothing"),
    "a module": ("surefoot.core.errors.Rejected: it needs the module 'x'", Rejected, "on Ray: it needs the module 'x'"),
    "out of memory": ("ray.exceptions.ActorDiedError: gone", Rejected, "on Ray: ray.exceptions.ActorDiedError: gone"),
}


@pytest.mark.parametrize("name", STARTS)
def test_a_version_that_does_not_start_gets_no_traffic(serve: ServeApi, tmp_path: Path, name: str) -> None:
    """Callers are served as before, the error says why, and the version is removed so that it is tried anew."""
    traffic, broken = traffic_at(serve.port, tmp_path), f"{MODEL}:v2"
    traffic.shift(MODEL, split(0.0, None))
    said, kind, says = STARTS[name]
    serve.status[broken], serve.message[broken] = "DEPLOY_FAILED", f"Traceback\n  File x\n{said}"
    with pytest.raises(SurefootError) as refused:
        traffic.shift(MODEL, split(5.0, generation=2))
    assert type(refused.value) is kind
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert traffic.live(MODEL) == split(0.0, None)
    assert broken not in serve.applications


def test_a_version_that_takes_too_long_gets_no_traffic(serve: ServeApi, tmp_path: Path) -> None:
    """After its patience the error says so; what is deployed already goes on, and the next try waits for the same."""
    traffic = traffic_at(serve.port, tmp_path, patience_s=0.2)
    traffic.shift(MODEL, split(0.0, None))
    serve.status[f"{MODEL}:v2"] = "DEPLOYING"
    with pytest.raises(VersionUnavailable, match=r"does not run after 0\.2 s"):
        traffic.shift(MODEL, split(5.0, generation=2))
    writes = serve.writes
    with pytest.raises(VersionUnavailable):
        traffic.shift(MODEL, split(5.0, generation=2))
    assert serve.writes == writes
    serve.status.clear()
    traffic.shift(MODEL, split(5.0, generation=2))
    assert traffic.live(MODEL) == split(5.0, generation=2)


def test_a_rollback_waits_for_no_version_that_serves_already(serve: ServeApi, tmp_path: Path) -> None:
    """A champion whose application is being scaled, or has lost a replica, takes everything at once."""
    traffic = traffic_at(serve.port, tmp_path, patience_s=0.2)
    traffic.shift(MODEL, split(25.0))
    for generation, status in enumerate(("DEPLOYING", "UNHEALTHY"), start=2):
        serve.status[f"{MODEL}:v1"] = status
        traffic.shift(MODEL, split(0.0, None, generation=generation))
        assert traffic.live(MODEL) == split(0.0, None, generation=generation)


def test_a_router_that_does_not_confirm_leaves_the_outcome_unknown(serve: ServeApi, tmp_path: Path) -> None:
    """A split that the router's replicas have not taken is not called live, and the change is OutcomeUnknown."""
    traffic = traffic_at(serve.port, tmp_path, patience_s=0.2)
    traffic.shift(MODEL, split(25.0))
    serve.status[f"{MODEL}:router"] = "DEPLOYING"
    assert traffic.live(MODEL) == split(25.0)  # another application was changed
    serve.deployment_status = "UPDATING"
    with pytest.raises(OutcomeUnknown, match="has not confirmed it"):
        traffic.shift(MODEL, split(0.0, None, generation=2))
    with pytest.raises(GatewayUnavailable, match="application flights:router is DEPLOYING"):
        traffic.live(MODEL)
    serve.status.clear()
    with pytest.raises(GatewayUnavailable, match="deployment Router of application flights:router is being told"):
        traffic.live(MODEL)
    serve.deployment_status = "HEALTHY"
    serve.taken[f"{MODEL}:router"] = {"user_config": {}}  # Ray Serve has stored it, and not begun to tell its replicas
    with pytest.raises(OutcomeUnknown, match="is being told"):
        traffic.shift(MODEL, split(5.0, generation=3))


def test_applications_of_others_stay_as_they_are(serve: ServeApi, tmp_path: Path) -> None:
    """Replicas that another hand has set and applications of others are kept; only a model's unused versions go."""
    serve.applications["shop"] = {"name": "shop", "import_path": "shop:app", "runtime_env": {"env_vars": {"A": "1"}}}
    traffic = traffic_at(serve.port, tmp_path)
    traffic.shift(MODEL, split(25.0))
    serve.applications[f"{MODEL}:v1"]["deployments"][0]["num_replicas"] = 7
    shop = dict(serve.applications["shop"])
    traffic.shift(MODEL, split(0.0, None, generation=2))
    traffic.shift(MODEL, split(5.0, OTHER, generation=3))
    assert serve.applications["shop"] == shop
    assert serve.applications[f"{MODEL}:v1"]["deployments"][0]["num_replicas"] == 7
    assert set(serve.applications) == {"shop", *(f"{MODEL}:{name}" for name in ("router", "v1", "v3"))}


def test_a_version_with_other_bytes_is_a_drift(serve: ServeApi, tmp_path: Path) -> None:
    """An application that another hand deployed with another digest is told, and deployed anew by the same split."""
    traffic = traffic_at(serve.port, tmp_path)
    traffic.shift(MODEL, split(0.0, None))
    serve.applications[f"{MODEL}:v1"]["args"]["digest"] = OTHER.digest
    live = traffic.live(MODEL)
    assert live is not None
    assert (live.champion.number, live.champion.digest) == ("1", "")
    traffic.shift(MODEL, split(0.0, None))
    assert traffic.live(MODEL) == split(0.0, None)


def policy_at(port: int) -> dict[str, Any]:
    """A policy of a model that Ray Serve serves."""
    where = {"address": f"http://127.0.0.1:{port}", "unit": POLICY["unit"], "patience": "5s"}
    traffic = {"requests_per_minute": 600, "candidate_errors_reach_callers": True, "ray": where}
    return {**POLICY, "model": MODEL, "traffic": {"engine": "ray", **traffic}}


class RayStack:
    """A journal, and a server with Ray Serve's API in which the candidate has a share; nothing else runs."""

    def __init__(self, serve: ServeApi, root: Path) -> None:
        dead = f"http://127.0.0.1:{free_port()}"
        self.config = Settings(root / "home", root, dead, dead, dead, "token")
        self.config.save()
        self.ledger = open_ramping_rollout(self.config, root, policy_at(serve.port), OLD, NEW)

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in a process of its own."""
        return run_command(*words, environment={**os.environ, "SUREFOOT_HOME": str(self.config.home), "COLUMNS": "500"})


def weight_of(serve: ServeApi) -> float:
    """The candidate's weight as the router was told it last."""
    told = serve.applications[f"{MODEL}:router"]["deployments"][0]["user_config"]["split"]
    return float(told["weight"])


def test_a_rollback_needs_the_journal_and_ray_alone(serve: ServeApi, tmp_path: Path) -> None:
    """With all else down, a rollback that Ray does not take exits with 4, and ends when it is repeated."""
    stack = RayStack(serve, tmp_path)
    serve.failure = (503, b"the GCS may be down")
    said = stack.command("rollback", MODEL, "--reason", "it is wrong")
    assert said.returncode == 4
    assert "did not say whether it took the change: the GCS may be down" in said.stderr
    assert weight_of(serve) == 25.0
    serve.failure = None
    said = stack.command("rollback", MODEL, "--reason", "it is wrong")
    assert said.returncode == 0, said.stderr
    assert "ended as RolledBack" in said.stdout
    assert weight_of(serve) == 0.0


def test_a_larger_share_waits_while_ray_does_not_answer(serve: ServeApi, tmp_path: Path) -> None:
    """A step that Ray cannot be told is not journalled as done, and the champion keeps its share; then it is."""
    stack = RayStack(serve, tmp_path)
    serve.runs = False
    with wiring.open_ports(stack.config, "test") as ports:
        with pytest.raises(GatewayUnavailable, match="does not run Ray Serve"):
            journal_and_apply_effect(ports, stack.ledger, SetSplit(OLD, NEW, 50.0))
        rollout = ports.ledger(MODEL).rollout
        assert rollout is not None
        assert SetSplit(OLD, NEW, 50.0) not in rollout.done
    assert weight_of(serve) == 25.0


def test_doctor_says_what_ray_does_not_do(serve: ServeApi, tmp_path: Path) -> None:
    """What serves is one line; so is a cluster that does not answer, a missing token, and a version that is down."""
    config = Settings(tmp_path / "home", tmp_path, "", "", "", "token")
    (tmp_path / "configs").mkdir()
    policy = tmp_path / "configs" / f"{MODEL}.yaml"
    policy.write_text(yaml.safe_dump(policy_at(serve.port)))
    where = f"Ray Serve at http://127.0.0.1:{serve.port}"

    def found() -> tuple[FindingLevel, str]:
        (one,) = _engines(config)
        assert "\n" not in one.text
        return one.level, one.text

    assert found() == (FindingLevel.OK, f"model flights: {where} answers, and serves nothing of it yet")
    traffic_at(serve.port, tmp_path).shift(MODEL, split(25.0))
    assert found() == (FindingLevel.OK, f"model flights: {where} has version 1, version 2 at 25 %")
    serve.status[f"{MODEL}:v2"] = "DEPLOY_FAILED"
    level, text = found()
    assert (level, "application flights:v2 is DEPLOY_FAILED" in text) == (FindingLevel.FAULT, True)
    serve.runs = False
    assert "start it there with 'serve start'" in found()[1]
    policy.write_text(yaml.safe_dump(policy_at(free_port())))
    assert "does not answer" in found()[1]
