"""Starts and stops MLflow, Prefect and the gateway on this machine, and keeps their state in one folder."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psutil

from surefoot import bootstrap
from surefoot.bootstrap import Settings
from surefoot.core.errors import Rejected, Unavailable

POOL = "surefoot"
PATIENCE = 240.0
"""How long a server may take to answer for the first time [seconds]."""
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "GX_ANALYTICS_ENABLED": "false",
    # Two threads that share two cores with everything else make boosted trees fifty times slower.
    "OMP_NUM_THREADS": "1",
}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person who starts the stack may choose; 0 means any free port."""

    mlflow_port: int = 0
    prefect_port: int = 0
    gateway_port: int = 0
    clock: str = "system"
    tick: int = 60


def free_port(wanted: int, what: str) -> int:
    """A port that nothing listens on.

    Raises:
        Rejected: The wanted one is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise Rejected(
                f"port {wanted} for {what} is taken ({error.strerror}): name another, or none for any"
            ) from error
        return int(probe.getsockname()[1])


def environment(config: Settings) -> dict[str, str]:
    """Environment of every process of the stack, and of whoever talks to Prefect."""
    return {
        **os.environ,
        **QUIET,
        "SUREFOOT_HOME": str(config.home),
        "SUREFOOT_PROJECT": str(config.project),
        "SUREFOOT_PYTHON": sys.executable,
        "PREFECT_HOME": str(config.home / "prefect"),
        "PREFECT_API_URL": f"{config.prefect}/api",
        "PREFECT_UI_API_URL": f"{config.prefect}/api",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "surefoot",
        "MLFLOW_TRACKING_URI": config.mlflow,
        "PYTHONUNBUFFERED": "1",
    }


def _start(config: Settings, name: str, command: list[str], env: Mapping[str, str]) -> tuple[int, float]:
    """Start one process in a group of its own, its output in a file."""
    logs = config.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(  # noqa: S603 - our own programs
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=config.project,
            env=dict(env),
            start_new_session=True,
            # A worker that inherits an ignored SIGINT would shrug off its first SIGTERM.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,  # noqa: PLW1509 - no threads yet
        )
    return child.pid, psutil.Process(child.pid).create_time()


def _wait(config: Settings, name: str, url: str) -> None:
    """Wait until a server answers; its process dying ends the wait."""
    deadline = time.monotonic() + PATIENCE
    pid = config.processes[name][0]
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=2.0, trust_env=False).status_code < 400:  # noqa: PLR2004 - HTTP
                return
        if not alive(config.processes[name]):
            tail = (config.home / "logs" / f"{name}.log").read_text(errors="replace").strip().splitlines()[-1:]
            raise Unavailable(f"{name} (process {pid}) ended while starting: {' '.join(tail)[:300]}")
        time.sleep(0.2)
    raise Unavailable(f"{name} did not answer at {url} within {PATIENCE:.0f} s: see {config.home}/logs/{name}.log")


def alive(process: tuple[int, float]) -> bool:
    """Whether exactly this process is still running."""
    with contextlib.suppress(psutil.NoSuchProcess):
        found = psutil.Process(process[0])
        return abs(found.create_time() - process[1]) < 1.0 and found.status() != psutil.STATUS_ZOMBIE
    return False


def running(config: Settings) -> dict[str, bool]:
    """Which of the processes are running."""
    return {name: alive(process) for name, process in config.processes.items()}


def up(home: Path, project: Path, wishes: Wishes, say: Say = lambda _line: None) -> Settings:
    """Start everything and wait until each part answers.

    Raises:
        Rejected: It is running already, a port is taken, or the project folder holds no flows.
        Unavailable: A part did not come up; what was started has been stopped again.
    """
    if not (project / "prefect.yaml").is_file():
        raise Rejected(
            f"{project} has no prefect.yaml: run 'surefoot up' in the project folder, or name it with --project"
        )
    before = _before(home)
    if before and any(running(before).values()):
        raise Rejected(f"a stack is running in {home} (MLflow {before.mlflow}): 'surefoot down' stops it")
    ports = {
        name: free_port(wanted, name)
        for name, wanted in (
            ("mlflow", wishes.mlflow_port),
            ("prefect", wishes.prefect_port),
            ("gateway", wishes.gateway_port),
        )
    }
    config = Settings(
        home=home,
        project=project,
        mlflow=f"http://127.0.0.1:{ports['mlflow']}",
        prefect=f"http://127.0.0.1:{ports['prefect']}",
        gateway=f"http://127.0.0.1:{ports['gateway']}",
        token=before.token if before else secrets.token_urlsafe(24),
        clock=wishes.clock,
        journal=before.journal if before else "",
        tick=wishes.tick,
    )
    config.save()
    try:
        return _bring_up(config, ports, say)
    except BaseException:
        stop(bootstrap.settings(home))
        raise


def _before(home: Path) -> Settings | None:
    try:
        return bootstrap.settings(home)
    except Rejected:
        return None


def _bring_up(config: Settings, ports: Mapping[str, int], say: Say) -> Settings:
    env = environment(config)
    store = config.home / "mlflow"
    store.mkdir(parents=True, exist_ok=True)
    python = [sys.executable, "-m"]
    local = ["--host", "127.0.0.1", "--port"]
    backend = [
        "--backend-store-uri",
        f"sqlite:///{store / 'mlflow.db'}",
        "--artifacts-destination",
        str(store / "artifacts"),
    ]
    commands = {
        "prefect": [*python, "prefect", "server", "start", *local, str(ports["prefect"])],
        "mlflow": [*python, "mlflow", "server", *local, str(ports["mlflow"]), "--workers", "1", *backend],
    }
    for name, command in commands.items():
        config = _remember(config, name, _start(config, name, command, env))
    _wait(config, "mlflow", f"{config.mlflow}/health")
    say(f"MLflow   {config.mlflow}")
    serve = [*python, "surefoot", "gateway"]
    config = _remember(config, "gateway", _start(config, "gateway", serve, env))
    _wait(config, "gateway", f"{config.gateway}/version")
    say(f"gateway  {config.gateway}")
    _wait(config, "prefect", f"{config.prefect}/api/health")
    worker = [*python, "prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", "surefoot"]
    config = _remember(config, "worker", _start(config, "worker", worker, env))
    _pool(config)
    deploy = [*python, "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(deploy, cwd=config.project, env=env, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    (config.home / "logs" / "deploy.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode:
        raise Unavailable(f"the flows could not be deployed: see {config.home}/logs/deploy.log")
    _pace(config)
    say(f"Prefect  {config.prefect}")
    return config


def _remember(config: Settings, name: str, process: tuple[int, float]) -> Settings:
    """Write down what was started before waiting for it, so that `down` finds it whatever happens."""
    config = replace(config, processes={**config.processes, name: process})
    config.save()
    return config


def _pool(config: Settings) -> None:
    """Wait until the worker has made its pool."""
    _ask(config, "GET", f"/work_pools/{POOL}", f"the Prefect worker made no pool: see {config.home}/logs/worker.log")


def _pace(config: Settings) -> None:
    """Give the scheduled flows the tick that was asked for; prefect.yaml holds the usual one."""
    for name in ("watch", "reconcile"):
        trouble = f"Prefect does not take the tick of {name}: see {config.home}/logs/prefect.log"
        found = _ask(config, "GET", f"/deployments/name/{name}/{name}", trouble).json()
        for item in found["schedules"]:
            path = f"/deployments/{found['id']}/schedules/{item['id']}"
            _ask(config, "PATCH", path, trouble, {"schedule": {"interval": config.tick}})


def _ask(config: Settings, method: str, path: str, trouble: str, body: object = None) -> httpx.Response:
    """Ask Prefect until it agrees: right after its start it answers 503 whenever its database is busy.

    Raises:
        Unavailable: It did not within the patience; everything that is asked here is safe to repeat.
    """
    deadline, why = time.monotonic() + PATIENCE, ""
    while time.monotonic() < deadline:
        try:
            answer = httpx.request(method, f"{config.prefect}/api{path}", json=body, timeout=10.0, trust_env=False)
            if answer.is_success:
                return answer
            why = f"{answer.status_code} {answer.text[:100]}"
        except httpx.HTTPError as error:
            why = repr(error)
        time.sleep(0.3)
    raise Unavailable(f"{trouble} ({why})")


def stop(config: Settings, say: Say = lambda _line: None) -> None:
    """Stop exactly what was started: those processes and their children, worker first."""
    for name in ("worker", "gateway", "mlflow", "prefect"):
        process = config.processes.get(name)
        if process and alive(process):
            gone = list(_family(process[0]))
            for each in gone:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.terminate()
            _, left = psutil.wait_procs(gone, timeout=15.0)
            for each in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
            psutil.wait_procs(left, timeout=5.0)
            say(f"stopped {name}")
    replace(config, processes={}).save()


def _family(pid: int) -> Iterator[psutil.Process]:
    """A process and all that it started, itself first."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        yield parent
        yield from parent.children(recursive=True)
