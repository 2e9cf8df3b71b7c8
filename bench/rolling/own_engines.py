"""Start the traffic engines `haproxy` and `alias` of Surefoot with two versions for the rollback bench.

RunningEngine `kubernetes` is left out: without a cluster, what is late there would be a matter of the test's own proxy.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from bench.gateway import free_port, running_process
from bench.rolling.engines import CANDIDATE, CHAMPION, RunningEngine, haproxy_process, running_backends
from surefoot.adapters.mlflow.registry import MlflowRegistry
from surefoot.adapters.traffic.alias import AliasTraffic
from surefoot.adapters.traffic.haproxy import SPLIT_MAP_FILE, HaproxyTraffic
from surefoot.core.domain import Split, Version
from surefoot.core.ports import Traffic

_MODEL = "m"
_KNOWN = {number: Version(number, f"sha256:{number * 64}") for number in (CHAMPION, CANDIDATE)}
_DEADLINE_S = 5.0


@contextlib.contextmanager
def surefoot_haproxy(models: Path, folder: Path) -> Iterator[RunningEngine]:
    """HAProxy through our adapter: the split in a map, weights set and read back."""
    with running_backends(models, folder) as ports:
        (folder / SPLIT_MAP_FILE).touch()
        uses = f"  http-response set-header X-Surefoot-Split %[str({_MODEL}),map({folder / SPLIT_MAP_FILE},none)]"
        with haproxy_process(ports, folder, uses) as (port, admin):
            traffic = HaproxyTraffic([f"unix:{admin}"], "models", "s{version}", folder / "locks")
            yield _engine(traffic, port, 50.0)


@contextlib.contextmanager
def surefoot_alias(models: Path, folder: Path) -> Iterator[RunningEngine]:
    """MLflow through our adapter, and an application that reads alias champion before each batch."""
    mlflow, port = free_port(), free_port()
    url = f"http://127.0.0.1:{mlflow}"
    server = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(mlflow), "--workers", "1"]
    server += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts"]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    application = [sys.executable, "-m", "bench.rolling.alias_application", url, _MODEL, str(models), str(port)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(running_process(server, quiet, f"{url}/health", folder / "mlflow.log"))
        _register(url)
        engine = _engine(AliasTraffic(MlflowRegistry(url, _no_files, _DEADLINE_S)), port, 100.0)
        engine.rollback()  # the alias names a version before the application starts
        address = f"http://127.0.0.1:{port}/"
        stack.enter_context(running_process(application, {"OMP_NUM_THREADS": "1"}, address, folder / "application.log"))
        yield engine


def _engine(traffic: Traffic, port: int, weight: float) -> RunningEngine:
    """An engine whose splits count upwards."""
    generations = count(1)

    def start() -> None:
        split = Split(_KNOWN[CHAMPION], _KNOWN[CANDIDATE], weight, "salt", "r", next(generations))
        traffic.shift(_MODEL, split)

    def rollback() -> None:
        traffic.shift(_MODEL, Split(_KNOWN[CHAMPION], None, 0.0, "salt", "r", next(generations)))

    return RunningEngine(port, "/", start, rollback)


def _register(url: str) -> None:
    """Register both versions; the application has their files already."""
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    from mlflow import MlflowClient  # noqa: PLC0415 - costs seconds

    client = MlflowClient(tracking_uri=url, registry_uri=url)
    client.create_registered_model(_MODEL)
    for number in (CHAMPION, CANDIDATE):
        run = client.create_run("0")
        client.log_text(run.info.run_id, number, "model/version.txt")
        source = f"{run.info.artifact_uri}/model"
        client.create_model_version(_MODEL, source, run_id=run.info.run_id, await_creation_for=0)


def _no_files(_model: str, _number: str) -> tuple[Path, str]:
    raise AssertionError("this engine downloads nothing")
