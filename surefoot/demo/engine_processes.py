"""Start the processes that answer callers in the demo without the gateway: applications and HAProxy."""

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from surefoot.core.errors import Rejected, Unavailable
from surefoot.core.serving_engines.engine_abilities import EngineName
from surefoot.demo.engine_policy import ALIAS_POLL_INTERVAL_S, HAPROXY_BACKEND

_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 10.0
_CONFIGURATION = """
global
  stats socket {folder}/admin.sock mode 600 level admin
  maxconn 1000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend front
  bind 127.0.0.1:{port}
  http-response set-header X-Surefoot-Split %[str({model}),map({folder}/surefoot.map,none)]
  default_backend {backend}
backend {backend}
  balance roundrobin
{servers}
"""


def _find_haproxy() -> str:
    """Path of HAProxy.

    Raises:
        Rejected: It is not installed.
    """
    program = shutil.which("haproxy")
    if program is None:
        raise Rejected("engine 'haproxy' needs HAProxy, which is not installed: install the package 'haproxy'")
    return program


class EngineProcesses:
    """Applications that serve the demo's model, and with engine `haproxy` the HAProxy in front of them.

    Attributes:
        url: Where callers ask.
        runtime_address: Runtime API of HAProxy; empty without one.
    """

    def __init__(self, engine: EngineName, model: str, versions: int) -> None:
        """Choose the ports; nothing is started yet.

        Args:
            engine: `haproxy`, with an application for each version, or `alias`, with one for all of them.
            model: Registered model.
            versions: Versions of the model [count], numbered from 1.

        Raises:
            Rejected: HAProxy is needed and not installed.
        """
        self._model = model
        self._program = _find_haproxy() if engine is EngineName.HAPROXY else ""
        names = [str(number) for number in range(1, versions + 1)] if self._program else [""]
        port, *own = _free_ports(1 + len(names) if self._program else 1)
        self._port, self._applications = port, dict(zip(names, own or [port], strict=True))
        self._folder = Path(tempfile.mkdtemp(prefix="surefoot-")) if self._program else None
        self._running: list[tuple[str, subprocess.Popen[bytes], Path]] = []
        self.url = f"http://127.0.0.1:{port}"
        self.runtime_address = f"unix:{self._folder}/admin.sock" if self._folder else ""

    def describe(self) -> str:
        """What answers callers, in one sentence."""
        if self._program:
            return (
                f"callers ask HAProxy at {self.url}; behind it each version has a server of its own, and Surefoot sets"
                " their weights"
            )
        return (
            f"callers ask an application at {self.url}; it answers with models:/{self._model}@champion, and looks at"
            f" that alias every {ALIAS_POLL_INTERVAL_S:g} s"
        )

    def start_router(self, logs: Path, environment: Mapping[str, str]) -> None:
        """Start HAProxy, with no weight for any version; nothing to do for another engine.

        Args:
            logs: Folder of the processes' output.
            environment: Environment of what is started.

        Raises:
            Unavailable: It did not start.
        """
        if self._folder is None:
            return
        (self._folder / "surefoot.map").touch()
        servers = "\n".join(f"  server v{name} 127.0.0.1:{port} weight 0" for name, port in self._applications.items())
        values = {"folder": self._folder, "port": self._port, "model": self._model, "backend": HAPROXY_BACKEND}
        configuration = self._folder / "haproxy.cfg"
        configuration.write_text(_CONFIGURATION.format(**values, servers=servers), encoding="utf-8")
        self._start("haproxy", [self._program, "-db", "-f", str(configuration)], logs, environment)
        self._wait(self.url)

    def start_applications(self, mlflow: str, logs: Path, environment: Mapping[str, str]) -> None:
        """Start every application, and wait until each answers.

        Args:
            mlflow: Address of the registry, which has every version.
            logs: Folder of the processes' output.
            environment: Environment of what is started.

        Raises:
            Unavailable: One did not start.
        """
        for name, port in self._applications.items():
            which = ["--version", name] if name else ["--alias", "champion"]
            command = [sys.executable, "-m", "surefoot.demo.model_application", mlflow, self._model, str(port), *which]
            self._start(f"application-{name}" if name else "application", command, logs, environment)
        for port in self._applications.values():
            self._wait(f"http://127.0.0.1:{port}")

    def stop(self) -> None:
        """End every process, the one that was started last first."""
        for _, process, _ in reversed(self._running):
            process.terminate()
        for _, process, _ in reversed(self._running):
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, name: str, command: list[str], logs: Path, environment: Mapping[str, str]) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        file = logs / f"{name}.log"
        with file.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own program, or HAProxy
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(environment), start_new_session=True
            )
        self._running.append((name, process, file))

    def _wait(self, url: str) -> None:
        """Wait until an address answers anything; the end of any process ends the wait.

        Raises:
            Unavailable: It does not answer, or a process has ended.
        """
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            for name, process, file in self._running:
                if process.poll() is not None:
                    raise Unavailable(f"the demo's {name} ended with code {process.returncode}: see {file}")
            with contextlib.suppress(URLError, OSError):
                try:
                    urlopen(url, timeout=5.0).close()  # noqa: S310 - our own address
                except HTTPError:  # HAProxy without a server answers 503
                    return
                return
            time.sleep(0.05)
        raise Unavailable(f"nothing answers at {url} after {_START_TIMEOUT_S:.0f} s")


def _free_ports(count: int) -> list[int]:
    """So many ports that nothing listens on."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
