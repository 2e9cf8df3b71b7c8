"""Build and run a staging twin, which is an isolated copy of production for rollback drills."""

import ctypes
import gc
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import httpx

from surefoot import wiring
from surefoot.adapters.clock import ReplayClock
from surefoot.adapters.replay.version_processes import fresh_forkserver
from surefoot.core.errors import Unavailable
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.drills.misbehaviour import FAULT_FILE_VARIABLE, Misbehaviour
from surefoot.rollout import Ports
from surefoot.settings import Settings

_NOT_A_SERVER = "http://127.0.0.1:9"
"""Address of a server that is down: nothing listens on the port of 'discard'."""
_START_TIMEOUT_S = 120.0
"""How long the gateway may take to answer for the first time [seconds]."""
_STOP_TIMEOUT_S = 10.0
"""How long it may take to leave [seconds]."""
_MODEL_MEMORY_MB = 4096
"""Address space of a model's process [MB]: so much a version that leaks may take."""
_REGISTRY_TIMEOUT_S = 1.0
"""How long a registry that is down is asked [seconds]."""
_PR_SET_PDEATHSIG = 1


class StagingTwin:
    """A stack of its own for one model, in which nothing reaches production.

    Attributes:
        config: Where everything of it is.
        model: Registered model.
        clock: Its time; the requests of the drill move it.
    """

    def __init__(self, config: Settings, model: str) -> None:
        """Know where it is; nothing is started yet."""
        self.config = config
        self.model = model
        self.clock = ReplayClock(config.clock.removeprefix("replay:"))
        self._gateway: subprocess.Popen[bytes] | None = None

    @property
    def fault_file(self) -> Path:
        """The file that tells the version how to misbehave."""
        return self.config.home / "fault.json"

    @property
    def registry_file(self) -> Path:
        """The database of the registry."""
        return self.config.home / "mlflow.db"

    def misbehave(self, how: Misbehaviour) -> None:
        """Let the version misbehave from its next request on."""
        how.write(self.fault_file)

    def start(self) -> None:
        """Start the gateway, and wait until it serves what its routes name.

        Raises:
            Unavailable: It did not come up.
        """
        self.config.save()
        environment = {
            **os.environ,
            "SUREFOOT_HOME": str(self.config.home),
            FAULT_FILE_VARIABLE: str(self.fault_file),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "surefoot", "gateway", "--workers", "1"]
        command += ["--model-memory", str(_MODEL_MEMORY_MB)]
        log = self.config.home / "gateway.log"
        with log.open("ab") as output:
            self._gateway = subprocess.Popen(  # noqa: S603 - our own program
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=self.config.project,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - it takes no lock that another thread could hold
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError):
                if _is_ready(httpx.get(f"{self.config.gateway}/health", timeout=2.0, trust_env=False)):
                    return
            if self._gateway.poll() is not None:
                break
            time.sleep(0.05)
        said = (log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
        raise Unavailable(f"the gateway of the drill did not come up; it said: {said[:200]}")

    def gateway_processes(self) -> list[int]:
        """Ids of the gateway's processes: the supervisor, its workers and the processes of models."""
        import psutil  # noqa: PLC0415 - one fault needs it

        if self._gateway is None:
            return []
        leader = psutil.Process(self._gateway.pid)
        return [leader.pid, *(child.pid for child in leader.children(recursive=True))]

    def stop(self) -> None:
        """End every process of the gateway."""
        if self._gateway is None:
            return
        self._gateway.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._gateway.wait(_STOP_TIMEOUT_S)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._gateway.pid, signal.SIGKILL)
        self._gateway.wait()
        self._gateway = None

    @contextmanager
    def ports(self, *, registry: bool = True) -> Iterator[Ports]:
        """Everything that a rollout needs.

        Args:
            registry: Whether the registry answers.
        """
        before = os.environ.get(FAULT_FILE_VARIABLE)
        os.environ[FAULT_FILE_VARIABLE] = str(self.fault_file)  # for versions that are asked again about their requests
        config = self.config if registry else replace(self.config, mlflow=_NOT_A_SERVER)
        try:
            with (
                fresh_forkserver(),
                wiring.open_ports(config, "drill", _REGISTRY_TIMEOUT_S if not registry else 20.0) as ports,
            ):
                yield ports
        finally:
            if before is None:
                del os.environ[FAULT_FILE_VARIABLE]
            else:
                os.environ[FAULT_FILE_VARIABLE] = before
            gc.collect()  # processes of versions end with the objects that asked them, which refer to each other

    def entries(self) -> tuple[Entry, ...]:
        """The journal of the model."""
        with wiring.open_journal(self.config) as journal:
            return journal.read(self.model)

    def ledger(self) -> Ledger:
        """The state of the model."""
        return fold_entries(self.model, self.entries())

    def is_cut(self) -> bool:
        """Whether the gateway has taken all traffic from the candidate by itself."""
        headers = {"Authorization": f"Bearer {self.config.token}"}
        url = f"{self.config.gateway}/models/{self.model}/route"
        reply = httpx.get(url, headers=headers, timeout=5.0, trust_env=False)
        return bool(reply.json().get("cut"))

    def copy_to(self, folder: Path) -> "StagingTwin":
        """Another twin that stands where this one stands; no request may be under way."""
        shutil.copytree(self.config.home, folder, copy_function=_link_or_copy, ignore=_left_out)
        return make_twin(folder, self.config.project, self.model)


def make_twin(folder: Path, project: Path, model: str) -> StagingTwin:
    """A twin in a folder, on a free port; its registry is a database in the same folder.

    Args:
        folder: Folder of all its state.
        project: Folder of configs/ and expectations/ as in production.
        model: Registered model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = folder / "token"
    if not token.is_file():
        token.write_text(secrets.token_urlsafe(24), encoding="utf-8")
    config = Settings(
        home=folder,
        project=project,
        mlflow=f"sqlite:///{folder / 'mlflow.db'}",
        prefect=_NOT_A_SERVER,
        gateway=f"http://127.0.0.1:{port}",
        token=token.read_text(encoding="utf-8"),
        clock=f"replay:{folder / 'clock'}",
    )
    return StagingTwin(config, model)


def _is_ready(health: httpx.Response) -> bool:
    """Whether a gateway serves what its routes name, and has loaded the versions that answer when a champion fails."""
    if health.status_code != httpx.codes.OK:
        return False
    standbys = [one.get("standby") for one in health.json()["models"].values()]
    return all(standby is None or standby["loaded"] for standby in standbys)


def _link_or_copy(source: str, target: str) -> object:
    """Artifacts are never changed in place, so that one copy is enough; everything else is written to."""
    if f"{os.sep}artifacts{os.sep}" in source:
        os.link(source, target)
        return target
    return shutil.copy2(source, target)


def _left_out(folder: str, names: list[str]) -> list[str]:
    """What belongs to the processes of one twin alone: sockets, and what each of them has locked."""
    return [name for name in names if not Path(folder, name).is_dir() and not Path(folder, name).is_file()]


def _end_with_parent() -> None:
    """However this command ends, the gateway of its twin ends too."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
