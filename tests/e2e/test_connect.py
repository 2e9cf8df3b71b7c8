"""`up` connects to an MLflow, a Prefect and a journal that it did not start; a rollout by alias is promoted there."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.connect import connect
from bench.connecting.postgres import running_postgres
from bench.connecting.rollout import MODEL, Installation, user_environment
from bench.connecting.servers import Mlflow, Prefect, running_mlflow, running_prefect
from surefoot.cli.local.prefect_server import DEPLOYED_FLOWS
from surefoot.settings import read_settings
from tests.e2e.stack_scenario import leftovers

pytestmark = pytest.mark.sweep("connect")  # starts all servers a second time


@dataclass
class Connected:
    """What is left after a rollout through servers of others, which run on.

    Attributes:
        folder: Folder of home and project.
        mlflow: MLflow with basic authentication.
        prefect: Prefect with an auth string.
        rows: What was seen of the rollout: name, value, and whether it is right.
    """

    folder: Path
    mlflow: Mlflow
    prefect: Prefect
    rows: list[tuple[str, object, bool]]

    @property
    def installation(self) -> Installation:
        """The home folder and the project; the journal's password is in surefoot.toml's variable."""
        return Installation(self.folder / "home", self.folder / "project", self.environment)

    @property
    def environment(self) -> dict[str, str]:
        """Credentials, and a journal of its own for what comes after the rollout."""
        return user_environment(self.mlflow, self.prefect, "none")


@pytest.fixture(scope="module")
def connected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connected]:
    """One rollout by alias, from `doctor` to `down`, with servers that run on after it."""
    folder = tmp_path_factory.mktemp("connected")
    with (
        running_postgres() as postgres,
        running_mlflow(folder / "mlflow", postgres) as mlflow,
        running_prefect(folder / "prefect", postgres) as prefect,
    ):
        yield Connected(folder, mlflow, prefect, connect(folder, postgres, mlflow, prefect))


def test_a_rollout_by_alias_is_promoted_on_servers_of_others(connected: Connected) -> None:
    """Everything that the bench demands holds: callers get answers only, and no password is in the home folder."""
    assert [(name, seen) for name, seen, good in connected.rows if not good] == []
    seen = {name: value for name, value, _ in connected.rows}
    assert seen["the rollout ends as"] == "Promoted"
    assert len(connected.rows) == 16
    assert list(leftovers(connected.folder / "home")) == []


def test_a_pool_of_somebody_else_gets_the_flows_and_no_worker(connected: Connected, tmp_path: Path) -> None:
    """With `--pool` the flows are deployed to that pool; no worker is started, and `status` says that none polls it."""
    made = connected.prefect.ask("POST", "/work_pools/", {"name": "team", "type": "process"})
    made.raise_for_status()
    _delete_deployments(connected.prefect)
    words = ["--pool", "team", "--journal", f"sqlite:///{tmp_path}/journal.db", "--tick", "60"]
    other = Installation(tmp_path / "home", connected.folder / "project", connected.environment)
    up = other.run("up", *words)
    try:
        assert (up.returncode, up.stderr) == (0, ""), up
        assert sorted(read_settings(other.home).processes) == ["controller", "gateway"]
        names = set(DEPLOYED_FLOWS)
        found: list[dict[str, Any]] = connected.prefect.ask("POST", "/deployments/filter", {}).json()
        assert {one["name"]: one["work_pool_name"] for one in found} == dict.fromkeys(names, "team")
        status = json.loads(other.run("status", "--json").stdout)
        assert "no worker polls work pool 'team'" in " ".join(status["trouble"])
        assert status["connected"]["mlflow"]["problem"] == ""
        wrong = json.loads(other.run("status", "--json", PREFECT_API_AUTH_STRING="no:body").stdout)
        assert "refuses our credentials (401)" in wrong["connected"]["prefect"]["problem"]
        assert not wrong["ok"]
        again = other.run("up", *words[:2])
        assert (again.returncode, "a stack is running" in again.stderr) == (2, True)
        moved = other.run("up", "--mlflow", "http://127.0.0.1:9")
        assert moved.returncode == 2
        assert f"--mlflow {connected.mlflow.url}, not http://127.0.0.1:9" in moved.stderr
    finally:
        down = other.run("down")
    assert (down.returncode, down.stderr) == (0, "")
    assert list(leftovers(other.home)) == []
    assert connected.mlflow.ask("GET", "2.0/mlflow/registered-models/get", name=MODEL).is_success
    assert connected.prefect.ask("GET", "/admin/version").is_success


def _delete_deployments(prefect: Prefect) -> None:
    """Make room for another home folder, as `doctor` says."""
    for one in prefect.ask("POST", "/deployments/filter", {}).json():
        prefect.ask("DELETE", f"/deployments/{one['id']}").raise_for_status()
