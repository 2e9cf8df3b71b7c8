"""Start Ray with Ray Serve on this machine, in a Python environment of its own."""

import importlib.metadata
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import psutil

import surefoot
from surefoot.core.errors import Rejected, Unavailable
from surefoot.models.environments.requirements import read_requirements
from surefoot.models.environments.version_environments import VersionEnvironments

_RAY = "ray[serve]>=2.60,<3"
_SHARED = (
    "mlflow-skinny", "scikit-learn", "skops", "pandas", "numpy", "scipy", "pyarrow", "cloudpickle",
    "pydantic", "pyyaml", "orjson", "xxhash",
)  # fmt: skip
"""What the replicas of a version import: in the environment of Ray as it is here, so that they load the same models."""
_BUILD_TIMEOUT_S = 1800.0
_START_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 20.0
_PAUSE_S = 0.1
_OBJECT_STORE_BYTES = 200_000_000
_PORTS = (
    "--port", "--dashboard-port", "--ray-client-server-port", "--dashboard-agent-listen-port",
    "--dashboard-agent-grpc-port", "--runtime-env-agent-port", "--metrics-export-port",
)  # fmt: skip
TOKEN_FILE_VARIABLE = "RAY_AUTH_TOKEN_PATH"  # noqa: S105 - name of Ray's own variable


class RayEnvironment:
    """A Python environment with Ray Serve, and the packages that models need there.

    Attributes:
        folder: Where it is kept, and used again.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Know the folder, by default one in the cache of this account; nothing is built yet."""
        self.folder = folder or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "surefoot", "ray")
        self._environments = VersionEnvironments(self.folder, _BUILD_TIMEOUT_S)

    @property
    def is_built(self) -> bool:
        """Whether it is there already."""
        return (self.folder / read_requirements(self._wanted()).digest / "bin" / "python").exists()

    def find_python(self) -> Path:
        """Give its interpreter; it is built first where it is not there, which takes a minute or two.

        Raises:
            Rejected: It cannot be built.
            Unavailable: There is no package index now.
        """
        try:
            return self._environments.find_python(self._wanted())
        except (Rejected, Unavailable) as error:
            raise type(error)(f"engine 'ray' needs an environment with Ray Serve in {self.folder}: {error}") from error

    def _wanted(self) -> Path:
        """A folder with its requirements, as a saved model has them."""
        shared = [f"{name}=={importlib.metadata.version(name)}" for name in _SHARED]
        made = self.folder / "wanted"
        made.mkdir(parents=True, exist_ok=True)
        fresh = made / f"requirements-{os.getpid()}.new"
        fresh.write_text("".join(f"{one}\n" for one in (_RAY, *shared)), encoding="utf-8")
        fresh.replace(made / "requirements.txt")
        return made


class RayNode:
    """One node of Ray that listens on this machine alone, with Ray Serve.

    Attributes:
        address: Its REST API.
        url: Where callers of Ray Serve ask.
        token_file: Token that its interfaces ask for.
    """

    def __init__(self, environment: RayEnvironment, token_file: Path, processors: int = 2) -> None:
        """Choose ports, and write a token; nothing is started yet.

        Args:
            environment: With Ray.
            token_file: Where the token is to stand.
            processors: What Ray may give to replicas [count].
        """
        self._environment, self._processors, self.token_file = environment, processors, token_file
        *ports, self._port = _free_ports(len(_PORTS) + 1)
        self._ports = dict(zip(_PORTS, ports, strict=True))
        self.address = f"http://127.0.0.1:{self._ports['--dashboard-port']}"
        self.url = f"http://127.0.0.1:{self._port}"
        self._token = secrets.token_hex(32)
        token_file.parent.mkdir(parents=True, exist_ok=True)
        token_file.touch(mode=0o600)
        token_file.write_text(self._token, encoding="utf-8")
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, log: Path, environment: Mapping[str, str]) -> None:
        """Start the node and Ray Serve, and wait until both answer.

        Args:
            log: File of its output.
            environment: Environment of its processes.

        Raises:
            Rejected: Its Python environment cannot be built.
            Unavailable: It does not start.
        """
        python = self._environment.find_python()
        self._folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: the path of a Unix socket has 107 characters
        code = self._folder / "code"  # of our environment Ray sees our own package alone
        code.mkdir()
        (code / "surefoot").symlink_to(Path(surefoot.__file__).parent)
        command = [
            str(python),
            "-m",
            "ray.scripts.scripts",
            "start",
            "--head",
            "--block",
            "--node-ip-address",
            "127.0.0.1",
        ]
        command += [word for option, port in self._ports.items() for word in (option, str(port))]
        command += ["--dashboard-host", "127.0.0.1", "--min-worker-port", "0", "--max-worker-port", "0"]
        command += ["--num-cpus", str(self._processors), "--object-store-memory", str(_OBJECT_STORE_BYTES)]
        command += ["--temp-dir", str(self._folder), "--include-log-monitor", "false", "--disable-usage-stats"]
        hidden = {"PYTHONHOME", "VIRTUAL_ENV", "RAY_AUTH_TOKEN", "RAY_ADDRESS"}
        own = {
            "PYTHONPATH": str(code),
            "PYTHONDONTWRITEBYTECODE": "1",
            "RAY_AUTH_MODE": "token",
            TOKEN_FILE_VARIABLE: str(self.token_file),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else it takes an address that other machines reach
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        }
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                cwd=self._folder, env={key: item for key, item in environment.items() if key not in hidden} | own,
            )  # fmt: skip
        applications = f"{self.address}/api/serve/applications/"
        http = {"host": "127.0.0.1", "port": self._port}
        body = {"proxy_location": "HeadOnly", "http_options": http, "applications": []}
        try:
            self._wait("GET", applications, log)
            self._wait("PUT", applications, log, body)
            self._wait("GET", self.url, log, any_answer=True)
        except Unavailable:
            self.stop()
            raise

    def _wait(
        self, method: str, url: str, log: Path, body: Mapping[str, object] | None = None, *, any_answer: bool = False
    ) -> None:
        """Ask again and again until an address answers with 200, or at all.

        Raises:
            Unavailable: It does not in time, or Ray has ended.
        """
        deadline = time.monotonic() + _START_TIMEOUT_S
        headers = {"Authorization": f"Bearer {self._token}"}
        with httpx.Client(trust_env=False, timeout=60.0, headers=headers) as client:
            while time.monotonic() < deadline:
                if self._process is None or self._process.poll() is not None:
                    raise Unavailable(f"Ray ended at its start: see {log}")
                with suppress(httpx.HTTPError):
                    if client.request(method, url, json=body).status_code == httpx.codes.OK or any_answer:
                        return
                time.sleep(_PAUSE_S)
        raise Unavailable(f"Ray does not answer at {url} after {_START_TIMEOUT_S:.0f} s: see {log}")

    def processes(self) -> list[psutil.Process]:
        """Every process of the node."""
        return [] if self._process is None else psutil.Process(self._process.pid).children(recursive=True)

    def stop(self) -> None:
        """End the node and all its processes."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, 9)
                self._process.wait()
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _free_ports(count: int) -> list[int]:
    """So many ports that nothing listens on."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
