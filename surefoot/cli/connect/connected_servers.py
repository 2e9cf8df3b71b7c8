"""Check MLflow and Prefect servers, and Prefect work pools, that Surefoot did not start."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from surefoot.adapters.mlflow.server.server_check import check_mlflow_server
from surefoot.cli.connect.prefect_checks import check_prefect_server, check_work_pool
from surefoot.core.errors import SurefootError
from surefoot.settings import OWN_WORK_POOL, Settings


@dataclass(frozen=True, slots=True)
class ConnectedServer:
    """One server that Surefoot has not started.

    Attributes:
        name: "mlflow" or "prefect".
        url: Its address.
        version: Its release; empty where it cannot be used.
        problem: Why it cannot be used; empty where it can.
    """

    name: str
    url: str
    version: str
    problem: str

    @property
    def line(self) -> str:
        """How people are told of it."""
        title = {"mlflow": "MLflow", "prefect": "Prefect"}[self.name]
        state = "is down or cannot be used" if self.problem else f"{self.version}, connected"
        return f"{title} {self.url} {state}"


def check_connected_servers(config: Settings, timeout_s: float) -> list[ConnectedServer]:
    """Ask each connected server for its version, at the same time.

    Args:
        config: Which servers are connected.
        timeout_s: How long one request may take [s].
    """
    asks: dict[str, Callable[[], str]] = {
        "mlflow": lambda: check_mlflow_server(config.mlflow, timeout_s).version,
        "prefect": lambda: check_prefect_server(config, timeout_s).version,
    }
    names = [name for name in asks if name in config.connected]
    if not names:
        return []
    with ThreadPoolExecutor(len(names)) as pool:
        return list(pool.map(partial(_look, config, asks), names))


def _look(config: Settings, asks: dict[str, Callable[[], str]], name: str) -> ConnectedServer:
    version, problem = "", ""
    try:
        version = asks[name]()
    except SurefootError as error:
        problem = str(error)
    return ConnectedServer(name, getattr(config, name), version, problem)


def find_work_pool_problems(config: Settings, timeout_s: float) -> list[str]:
    """Why no flow run starts in a work pool for which Surefoot starts no worker.

    Args:
        config: Where Prefect is, and the pool.
        timeout_s: How long one request may take [s].
    """
    if config.pool == OWN_WORK_POOL:
        return []
    try:
        note = check_work_pool(config, timeout_s)[1]
    except SurefootError as error:
        return [str(error)]
    return [note] if note else []
