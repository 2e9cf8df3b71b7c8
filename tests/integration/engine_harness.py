"""The real engines behind the port `Traffic`, each with callers that can ask, and with ways to be down or to hang."""

import contextlib
import http.client
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest

from surefoot.adapters.mlflow.registry import MlflowRegistry
from surefoot.adapters.traffic import gateway as gateway_adapter
from surefoot.adapters.traffic.alias import AliasTraffic
from surefoot.adapters.traffic.gateway import GatewayTraffic
from surefoot.adapters.traffic.haproxy import HaproxyTraffic
from surefoot.adapters.traffic.haproxy_runtime import HaproxyRuntime
from surefoot.core.domain import Split, Version
from surefoot.core.ports import Traffic
from surefoot.core.serving_engines.engine_abilities import ENGINES, EngineAbilities, EngineName
from tests.conftest import free_port
from tests.integration.flaky_proxy import FlakyProxy
from tests.integration.gateway_harness import BETTER, GOOD, RAISING, ROW, Gateway
from tests.integration.gateway_process import TOKEN
from tests.integration.haproxy_process import BACKEND, Haproxy

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CANDIDATE, FAILING = GOOD, BETTER, RAISING


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller got: the version (empty for a failure), and when it asked and was answered [monotonic s]."""

    version: str
    asked: float
    answered: float


@dataclass
class EngineHarness(ABC):
    """One engine that runs, and what a test does with it.

    Attributes:
        name: Which one.
        traffic: The port, as the house wires it.
        model: Registered model.
        known: Version by number.
    """

    name: EngineName
    traffic: Traffic
    model: str
    known: dict[str, Version]
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def abilities(self) -> EngineAbilities:
        """What the engine says that it can do."""
        return ENGINES[self.name]

    def split(
        self, weight: float = 0.0, candidate: str | None = CANDIDATE, champion: str = CHAMPION, generation: int = 1
    ) -> Split:
        """A split of these versions."""
        named = None if candidate is None else self.known[candidate]
        return Split(self.known[champion], named, weight, "salt", "rollout-7", generation)

    def shift(self, *arguments: Any, **keywords: Any) -> Split:
        """Put a split in force."""
        made = self.split(*arguments, **keywords)
        self.traffic.shift(self.model, made)
        return made

    @abstractmethod
    def ask(self, unit: str) -> str:
        """Ask once, as a caller does: the version that answered; empty where the caller got a failure."""

    @abstractmethod
    def behind(self, port: int) -> Traffic:
        """The same engine, reached through another port of this machine."""

    @abstractmethod
    def target(self) -> tuple[str, int]:
        """Address of the engine's control interface."""

    writes: tuple[bytes, ...] = ()
    """Marks of the requests that change something."""

    def ask_all(self, units: Sequence[str], callers: int = 8) -> list[Answer]:
        """Ask for every unit once, several at a time."""

        def one(unit: str) -> Answer:
            asked = time.monotonic()
            version = self.ask(unit)
            return Answer(version, asked, time.monotonic())

        with ThreadPoolExecutor(callers) as pool:
            return list(pool.map(one, units))

    def down(self) -> Traffic:
        """The engine at an address where nothing listens."""
        return self.behind(free_port())

    @contextlib.contextmanager
    def hanging(self) -> Iterator[Traffic]:
        """The engine behind a proxy that swallows what would change something."""
        proxy = FlakyProxy(self.target())
        proxy.swallow = self.writes
        with proxy.running():
            yield self.behind(proxy.port)
            assert proxy.swallowed, "no change was ever sent"


class GatewayHarness(EngineHarness):
    """Surefoot's own gateway."""

    def __init__(self, gateway: Gateway) -> None:
        known = {number: gateway.models.version(number) for number in (CHAMPION, CANDIDATE, FAILING)}
        super().__init__(EngineName.GATEWAY, gateway.traffic, "flights", known, writes=(b"PUT ",))
        self.url = gateway.url.removeprefix("http://")

    def ask(self, unit: str) -> str:
        """Score one row of a unit."""
        with contextlib.closing(http.client.HTTPConnection(self.url, timeout=90)) as connection:
            body = json.dumps({"dataframe_records": [{**ROW, "unit": unit}]})
            connection.request("POST", f"/models/{self.model}/invocations", body)
            answer = connection.getresponse()
            answer.read()
            return str(answer.headers["x-model-version"]) if answer.status == httpx.codes.OK else ""

    def behind(self, port: int) -> Traffic:
        """The client of another port."""
        return GatewayTraffic(f"http://127.0.0.1:{port}", TOKEN)

    def target(self) -> tuple[str, int]:
        """Where the gateway listens."""
        host, port = self.url.split(":")
        return host, int(port)


class AliasHarness(EngineHarness):
    """A real MLflow server, and an application that reads alias champion before each batch."""

    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient  # noqa: PLC0415 - costs seconds

        self.uri, self.client = uri, MlflowClient(tracking_uri=uri, registry_uri=uri)
        model = f"flights-{uuid4().hex[:8]}"
        known = {number: Version(number, f"sha256:{number * 64}") for number in (CHAMPION, CANDIDATE, FAILING)}
        super().__init__(EngineName.ALIAS, self.at(uri), model, known, writes=(b"set-tag", b"POST ", b"registered"))
        self.writes = (b"set-tag", b"POST /api/2.0/mlflow/registered-models/alias")
        register_versions(self.client, model, len(known))
        self.client.set_registered_model_alias(model, "champion", CHAMPION)

    @staticmethod
    def at(uri: str) -> Traffic:
        """The engine of a registry."""
        return AliasTraffic(MlflowRegistry(uri, _no_files, 1.0))

    def ask(self, unit: str) -> str:
        """Read which version alias champion names, as `models:/<model>@champion` does."""
        assert unit
        reply = httpx.get(
            f"{self.uri}/api/2.0/mlflow/registered-models/alias",
            params={"name": self.model, "alias": "champion"},
            timeout=60.0,
        )
        return str(reply.json()["model_version"]["version"]) if reply.status_code == httpx.codes.OK else ""

    def behind(self, port: int) -> Traffic:
        """The registry at another port."""
        return self.at(f"http://127.0.0.1:{port}")

    def target(self) -> tuple[str, int]:
        """Where MLflow listens."""
        host, port = self.uri.removeprefix("http://").split(":")
        return host, int(port)


def _no_files(_model: str, _number: str) -> tuple[Path, str]:
    raise AssertionError("this engine downloads nothing")


def register_versions(client: "MlflowClient", model: str, count: int) -> None:
    """Register so many versions of a model."""
    client.create_registered_model(model)
    for number in range(1, count + 1):
        run = client.create_run("0")
        client.log_text(run.info.run_id, f"{model} {number}", "model/weights.txt")
        client.create_model_version(model, f"{run.info.artifact_uri}/model", run_id=run.info.run_id)


class HaproxyHarness(EngineHarness):
    """Two real HAProxy processes with the same servers."""

    def __init__(self, processes: list[Haproxy], root: Path) -> None:
        known = {number: Version(number, f"sha256:{number * 64}") for number in (CHAMPION, CANDIDATE, FAILING)}
        self.processes, self.root, self.asked = processes, root, 0
        # One by TCP, one by a Unix socket: both kinds of addresses are in use.
        addresses = [processes[0].address, *(one.socket for one in processes[1:])]
        super().__init__(EngineName.HAPROXY, self.at(addresses), "flights", known, writes=(b"add map", b"set map"))

    def at(self, addresses: list[str]) -> Traffic:
        """The engine of some processes."""
        return HaproxyTraffic(addresses, BACKEND, "v{version}", self.root / "locks")

    def ask(self, unit: str) -> str:
        """Ask one of the processes."""
        assert unit
        self.asked += 1
        status, version = self.processes[self.asked % len(self.processes)].ask()
        return version if status == httpx.codes.OK else ""

    def behind(self, port: int) -> Traffic:
        """One process at another port."""
        return self.at([f"tcp://127.0.0.1:{port}"])

    def target(self) -> tuple[str, int]:
        """Runtime API of the first process."""
        return "127.0.0.1", self.processes[0].admin

    def weights(self) -> list[dict[str, int]]:
        """What each process says of its servers' weights, asked by a client of its own."""
        found = (HaproxyRuntime(one.address).servers(BACKEND) for one in self.processes)
        return [{name: state.weight for name, state in servers.items()} for servers in found]


def make_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have adapters wait a second for what hangs, in place of a minute."""
    monkeypatch.setattr(gateway_adapter, "_SHIFT", httpx.Timeout(1.0))
    monkeypatch.setattr("surefoot.adapters.traffic.haproxy_runtime._ANSWER_TIMEOUT_S", 1.0)
    monkeypatch.setattr("surefoot.adapters.traffic.kubernetes.api_connection._ANSWER_TIMEOUT_S", 1.0)
    monkeypatch.setattr("surefoot.adapters.traffic.ray_api._TIMEOUT", httpx.Timeout(1.0))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")


Make = Callable[[], EngineHarness]
