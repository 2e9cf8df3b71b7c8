"""Engine `haproxy` from the commands: a candidate with a share is taken back with MLflow and the gateway down."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from surefoot.core.domain import Version
from surefoot.settings import Settings
from tests.commands import run_command
from tests.conftest import free_port
from tests.fakes import POLICY
from tests.integration.haproxy_process import BACKEND, Haproxy, haproxies
from tests.integration.ramping_rollout import open_ramping_rollout

if TYPE_CHECKING:
    import subprocess

MODEL = "flights"
OLD, NEW = Version("1", "sha256:" + "1" * 64), Version("2", "sha256:" + "2" * 64)


class HaproxyStack:
    """A journal and a HAProxy process in which the candidate has a quarter of the requests; nothing else runs."""

    def __init__(self, root: Path, process: Haproxy) -> None:
        self.process = process
        dead = f"http://127.0.0.1:{free_port()}"
        self.config = Settings(root / "home", root, dead, dead, dead, "token")
        self.config.save()
        traffic = {
            "engine": "haproxy",
            "requests_per_minute": 600,
            "candidate_errors_reach_callers": True,
            "haproxy": {"addresses": process.socket, "backend": BACKEND},
        }
        policy: dict[str, Any] = {**POLICY, "model": MODEL, "traffic": traffic}
        del policy["unit"]
        open_ramping_rollout(self.config, root, policy, OLD, NEW)

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in a process of its own."""
        return run_command(*words, environment={**os.environ, "SUREFOOT_HOME": str(self.config.home), "COLUMNS": "500"})

    def answering(self) -> set[str]:
        """Versions that answer callers."""
        return {self.process.ask()[1] for _ in range(40)}


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[HaproxyStack]:
    """A candidate that has a quarter of the requests."""
    with haproxies(tmp_path / "haproxy") as (process,):
        made = HaproxyStack(tmp_path, process)
        assert made.answering() == {"1", "2"}
        yield made


def test_a_rollback_needs_the_journal_and_haproxy_alone(stack: HaproxyStack) -> None:
    """With MLflow, Prefect and the gateway down the candidate answers no caller when the command returns."""
    said = stack.command("rollback", MODEL, "--reason", "it is wrong")
    assert said.returncode == 0, said.stderr
    assert "ended as RolledBack" in said.stdout
    assert stack.answering() == {"1"}


def test_kill_takes_candidates_back_at_haproxy_too(stack: HaproxyStack) -> None:
    """With the gateway down the command fails and says so; the candidate behind HAProxy is taken back even so."""
    said = stack.command("kill", "--reason", "it is wrong")
    assert said.returncode == 4
    assert "the switch may not be in force" in said.stderr
    assert stack.answering() == {"1"}


def test_status_tells_what_haproxy_serves_otherwise(stack: HaproxyStack) -> None:
    """Weights of another hand are told as what HAProxy serves, and one that is down is named."""
    from surefoot.adapters.traffic.haproxy_runtime import HaproxyRuntime  # noqa: PLC0415 - another hand

    HaproxyRuntime(stack.process.address).command(f"set server {BACKEND}/v2 weight 75")
    seen = stack.command("status", MODEL)
    assert seen.returncode == 1
    assert (
        "HAProxy serves version 2, and version 1 at 50%, the journal says version 1, and version 2 at 25%"
        in seen.stdout
    )
    stack.process.stop()
    assert f"HAProxy at {stack.process.socket} does not answer" in stack.command("status", MODEL).stdout
