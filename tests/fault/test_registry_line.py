"""The registry adapter when MLflow, or the line to it, fails."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from surefoot.adapters.mlflow.registry import MlflowRegistry
from surefoot.core.errors import AliasDrift, OutcomeUnknown, RegistryUnavailable
from tests.fault.registry_line import Line

DEADLINE_S, BOUND_S = 3.0, 15.0


def _no_fetch(model: str, number: str) -> tuple[Path, str]:
    raise AssertionError((model, number))


@pytest.fixture
def line(mlflow_server: str) -> Iterator[Line]:
    """A line to a healthy MLflow."""
    opened = Line(mlflow_server)
    yield opened
    opened.close()


@pytest.fixture
def model(mlflow_server: str) -> str:
    """A model with two versions."""
    from mlflow import MlflowClient  # noqa: PLC0415 - costs seconds

    client = MlflowClient(tracking_uri=mlflow_server, registry_uri=mlflow_server)
    name = f"m-{uuid4().hex}"
    client.create_registered_model(name)
    for _ in range(2):
        run = client.create_run("0")
        client.create_model_version(name, f"{run.info.artifact_uri}/model", run_id=run.info.run_id)
    return name


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")


@pytest.mark.parametrize(
    ("fault", "writes"),
    [
        ("500-after", 1),
        ("drop-after", 1),
        ("hang-after", 1),
        ("500-before", 2),
        ("drop-before", 2),
        ("lost-race", 2),
    ],
)
def test_a_spoiled_write_is_looked_at_before_it_is_repeated(line: Line, model: str, fault: str, writes: int) -> None:
    """A write whose answer was lost is found and not repeated; one that did not arrive is repeated; both succeed."""
    registry = MlflowRegistry(line.url, _no_fetch)
    line.faults = [fault]
    registry.set_alias(model, "champion", "1")
    assert registry.alias(model, "champion") == "1"
    assert line.writes == writes
    line.faults = [fault]
    registry.set_alias(model, "champion", None)
    assert registry.alias(model, "champion") is None


def test_no_write_is_sent_when_it_is_so_already(line: Line, model: str) -> None:
    """Setting what is set, and removing what is not, writes nothing."""
    registry = MlflowRegistry(line.url, _no_fetch)
    registry.set_alias(model, "champion", "1")
    assert line.writes == 1
    registry.set_alias(model, "champion", "1")
    registry.set_alias(model, "previous", None)
    assert line.writes == 1


@pytest.mark.parametrize("fault", ["500-before", "drop-after", "lost-race"])
def test_somebody_elses_value_is_kept(line: Line, model: str, mlflow_server: str, fault: str) -> None:
    """When another client sets the alias while our write fails, its choice stays and we hear AliasDrift."""
    other = MlflowRegistry(mlflow_server, _no_fetch)
    line.meanwhile = lambda: other.set_alias(model, "champion", "2")
    line.faults = [fault]
    with pytest.raises(AliasDrift, match="wrote 1, was None, now says 2"):
        MlflowRegistry(line.url, _no_fetch).set_alias(model, "champion", "1")
    assert other.alias(model, "champion") == "2"


def test_a_write_that_never_gets_through_is_of_unknown_outcome(line: Line, model: str) -> None:
    """When every attempt of a write is lost until the deadline, its outcome is unknown: one may still land."""
    line.faults = ["drop-before"] * 1000
    began = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        MlflowRegistry(line.url, _no_fetch, deadline_s=1.0).set_alias(model, "champion", "1")
    assert time.monotonic() - began < BOUND_S


def _calls(registry: MlflowRegistry) -> dict[str, Callable[[], object]]:
    return {
        "resolve": lambda: registry.resolve("m", "1"),
        "alias": lambda: registry.alias("m", "champion"),
        "aliases": lambda: registry.aliases("m"),
        "set_alias": lambda: registry.set_alias("m", "champion", "1"),
        "remove": lambda: registry.set_alias("m", "champion", None),
        "view": lambda: registry.view("m"),
        "models": registry.models,
    }


def _assert_all_give_up(uri: str) -> None:
    """Every call at once gives up in time; nothing can have been changed, since each looks first."""

    def give_up(call: Callable[[], object]) -> float:
        began = time.monotonic()
        with pytest.raises(RegistryUnavailable):
            call()
        return time.monotonic() - began

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(give_up, _calls(MlflowRegistry(uri, _no_fetch, DEADLINE_S)).values())) < BOUND_S


def test_a_dead_registry_is_unavailable_within_the_deadline() -> None:
    """When nobody listens, every call gives up after its deadline."""
    _assert_all_give_up("http://127.0.0.1:9")


def test_a_silent_registry_is_unavailable_within_the_deadline() -> None:
    """When a server accepts and never answers, every call gives up too."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        _assert_all_give_up(uri)


def test_a_read_is_repeated_until_the_registry_is_back(mlflow_server: str, model: str) -> None:
    """A registry that comes back before the deadline is asked again, and the caller notices nothing."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = int(holder.getsockname()[1])
    opened: list[Line] = []
    later = threading.Timer(0.5, lambda: opened.append(Line(mlflow_server, port)))
    later.start()
    assert MlflowRegistry(f"http://127.0.0.1:{port}", _no_fetch, deadline_s=30.0).aliases(model) == {}
    later.join()
    opened[0].close()
