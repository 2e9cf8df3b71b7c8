"""A real Ray node with Ray Serve, and engine `ray` in front of real model versions of an MLflow server."""

import contextlib
import http.client
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from surefoot.adapters.traffic.ray_api import RayServeApi
from surefoot.adapters.traffic.ray_serve import RayTarget, RayTraffic
from surefoot.core.domain import Version
from surefoot.core.ports import Traffic
from surefoot.core.serving_engines.engine_abilities import EngineName
from tests.integration.engine_harness import CANDIDATE, CHAMPION, FAILING, EngineHarness
from tests.integration.gateway_harness import ROW, save_pyfunc
from tests.integration.gateway_process import Models
from tests.integration.ray_node import TOKEN_FILE_VARIABLE, RayEnvironment, RayNode
from tests.integration.waiting import wait_for

MODEL = "ray-flights"


@contextlib.contextmanager
def running_ray(root: Path) -> Iterator[RayNode]:
    """A node of Ray, whose environment is installed where it is not there; its token is this process's."""
    node = RayNode(RayEnvironment(), root / "token")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_AUTH_TOKEN", raising=False)
        patch.setenv(TOKEN_FILE_VARIABLE, str(node.token_file))
        try:
            node.start(root / "ray.log", os.environ)
            yield node
        finally:
            node.stop()


def save_ray_models(models: Models, root: Path) -> Models:
    """Two good models, and one that fails and needs nothing of the tests' own modules."""
    for number in (CHAMPION, CANDIDATE):
        shutil.copytree(models.root / number, root / number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice to the author of a model
        save_pyfunc(root / FAILING, lambda frame: frame["no such column"])
    return Models(root)


def register_saved_versions(uri: str, models: Models, numbers: tuple[str, ...]) -> None:
    """Register saved models as the versions of these numbers."""
    from mlflow import MlflowClient  # noqa: PLC0415 - costs seconds

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.create_registered_model(MODEL)
    for number in numbers:
        run = client.create_run("0")
        client.log_artifacts(run.info.run_id, str(models.root / number), "model")
        client.create_model_version(MODEL, f"{run.info.artifact_uri}/model", run_id=run.info.run_id)


class RayHarness(EngineHarness):
    """Ray Serve, with a router of the model; its versions stay deployed from one test to the next."""

    def __init__(self, node: RayNode, uri: str, models: Models, root: Path) -> None:
        self.node, self.uri, self.root = node, uri, root
        self.failures: list[str] = []
        known = {number: models.version(number) for number in (CHAMPION, CANDIDATE, FAILING)}
        super().__init__(EngineName.RAY, self.at(node.address), MODEL, known, writes=(b"PUT ",))

    def at(self, address: str, patience_s: float = 240.0) -> RayTraffic:
        """The engine of a cluster."""
        where = RayTarget(address, "unit", 1, 0.01, str(self.root / "ray-cache"), patience_s)
        return RayTraffic(where, self.uri, self.root / "locks")

    def ask(self, unit: str) -> str:
        """Score one row of a unit."""
        return self.ask_for(unit)[1]

    def ask_for(self, unit: str) -> tuple[int, str]:
        """Status and version; empty where the caller got a failure."""
        url = self.node.url.removeprefix("http://")
        with contextlib.closing(http.client.HTTPConnection(url, timeout=90)) as connection:
            body = json.dumps({"dataframe_records": [{**ROW, "unit": unit}]})
            connection.request("POST", f"/models/{self.model}/invocations", body)
            answer = connection.getresponse()
            said = answer.read()
            answered = answer.status == httpx.codes.OK
            if not answered:
                self.failures.append(f"{answer.status} {said[:300]!r}")
            return answer.status, str(answer.headers["x-model-version"]) if answered else ""

    def behind(self, port: int) -> Traffic:
        """The cluster at another port."""
        return self.at(f"http://127.0.0.1:{port}")

    def target(self) -> tuple[str, int]:
        """Where Ray's dashboard listens."""
        return "127.0.0.1", int(self.node.address.rpartition(":")[2])

    def move_by_hand(self) -> None:
        """Tell the router another champion, as a person does who edits its settings."""
        api = RayServeApi(self.node.address)
        state = api.read()
        name = f"{self.model}:router"
        config = state.config(name)
        assert config is not None
        told = config["deployments"][0]["user_config"]
        other = told["applications"] | {CANDIDATE: f"{self.model}:v{CANDIDATE}"}
        version = {"number": CANDIDATE, "digest": self.known[CANDIDATE].digest, "data_digest": ""}
        told |= {"split": told["split"] | {"champion": version}, "applications": other}
        api.write(state, {name: config})
        wait_for(lambda: api.read().status(name) == "RUNNING")

    def remove_router(self) -> None:
        """Remove the router, so that the model has no split."""
        api = RayServeApi(self.node.address)
        api.write(api.read(), {f"{self.model}:router": None})
        wait_for(lambda: f"{self.model}:router" not in api.read().applications)

    def version(self, number: str, digest: str = "") -> Version:
        """A version, perhaps of other bytes than it has."""
        return Version(number, digest or self.known[number].digest)
