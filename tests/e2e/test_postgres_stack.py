"""A whole stack whose records are in the PostgreSQL of its home folder: killed, stopped and started again."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.connecting.rollout import (
    MODEL,
    Caller,
    Installation,
    make_project,
    read_last_stage,
    train_in_subprocess,
    wait_for_rollout_end,
    wait_until_served,
)
from surefoot.cli.postgres.postgres_server import cluster_processes
from surefoot.settings import read_settings
from tests import local_http
from tests.e2e.stack_scenario import leftovers
from tests.integration.waiting import wait_for

pytestmark = pytest.mark.sweep("postgres stack")  # starts all servers a second time

ROOT = Path(__file__).parents[2]


@pytest.fixture
def installation() -> Iterator[Installation]:
    """A project, and a home folder that every user may enter; nothing runs when the test has ended."""
    with tempfile.TemporaryDirectory(prefix="sf", dir="/tmp", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        project = make_project(Path(name) / "project")
        (project / "surefoot.toml").write_text("tick = 5\n")
        made = Installation(Path(name) / "home", project, {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
        try:
            yield made
        finally:
            made.run("down")


def _settings_of(installation: Installation) -> dict[str, dict[str, str]]:
    told = json.loads(installation.run("config", "--json").stdout)["settings"]
    return {name: told[name] for name in ("journal", "postgres")}


def _lose_up(installation: Installation) -> None:
    """Begin `up --postgres` and kill it when PostgreSQL has been started."""
    environment = {**os.environ, **installation.environment, "SUREFOOT_HOME": str(installation.home)}
    command = [sys.executable, "-m", "surefoot", "up", "--postgres"]
    begun = subprocess.Popen(command, cwd=installation.project, env=environment, stdout=subprocess.DEVNULL)
    wait_for(lambda: bool(cluster_processes(installation.home)) and (installation.home / "stack.json").is_file(), 300)
    begun.send_signal(signal.SIGKILL)
    begun.wait()


def test_a_stack_in_postgres_is_killed_stopped_and_started_with_all_its_records(installation: Installation) -> None:
    """After a killed `up`, a killed server and a `down` in a rollout every record is there; `verify` is green."""
    _lose_up(installation)
    up = installation.run("up")
    assert up.returncode == 0, up.stderr
    server = read_settings(installation.home).processes["postgres"][0]
    assert cluster_processes(installation.home)[0].pid == server
    shown = _settings_of(installation)
    assert shown["journal"]["value"] == read_settings(installation.home).journal_url
    assert shown["postgres"]["value"] == "yes"
    assert shown["postgres"]["source"] in {"--postgres", f"an earlier 'up' of {installation.home}"}
    for name in ("journal.db", "mlflow/mlflow.db", "prefect/prefect.db"):
        assert not (installation.home / name).exists()

    train_in_subprocess(sys.executable, {"MLFLOW_TRACKING_URI": installation.settings.mlflow})
    wait_until_served(installation)
    with Caller(installation.settings.gateway).asking() as caller:
        wait_for(lambda: caller.seen[200, "1"] >= 60)
    os.kill(server, signal.SIGKILL)
    wait_for(lambda: not cluster_processes(installation.home))
    told = installation.run("verify", MODEL)
    assert (told.returncode, "'surefoot up' starts it" in told.stderr) == (4, True)
    again = installation.run("up")
    assert again.returncode == 0, again.stderr
    assert "starting again: postgres" in again.stdout

    url = f"{installation.settings.mlflow}/api/2.0/mlflow/registered-models/alias"
    body = json.dumps({"name": MODEL, "alias": "candidate", "version": "2"}).encode()
    assert local_http.post(url, content=body, headers={"content-type": "application/json"}).status_code == 200
    wait_for(lambda: read_last_stage(installation) not in {"", "Promoted"}, 300)
    assert installation.run("down").returncode == 0
    assert list(leftovers(installation.home)) == []
    assert cluster_processes(installation.home) == []

    up = installation.run("up")
    assert up.returncode == 0, up.stderr
    with Caller(installation.settings.gateway).asking() as caller:
        assert wait_for_rollout_end(installation) == "Promoted"
    assert {status for status, _ in caller.seen} == {200}
    verify = installation.run("verify", MODEL)
    assert verify.returncode == 0, verify.stdout
    forget = installation.run("forget", MODEL, "--request", f"{MODEL}-3", "-m", "asked for")
    assert forget.returncode == 0, forget.stderr
