"""Start and stop MLflow, Prefect and the gateway on this machine, and store their state in one folder."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

from surefoot.cli.local import prefect_server, processes
from surefoot.cli.local.signals import defer_stop_signals, reset_signal_handlers
from surefoot.core.errors import Rejected, Unavailable
from surefoot.settings import Settings, read_settings

STACK_SERVICES = ("mlflow", "gateway", "prefect", "worker", "controller")
_SERVER_START_TIMEOUT_S = 240.0
"""How long a server may take to answer for the first time [seconds]."""
_SHUTDOWN_TIMEOUT_S = 15.0
"""How long MLflow, Prefect, its worker and the controller may take to leave [seconds]."""
_BEGINS = "--- 'surefoot up' starts this\n"
"""Stands in the log before the output of each process."""
SERVER_ENVIRONMENT = {
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

_PrintLine = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StackOptions:
    """Options for starting the local stack; port 0 means any free port."""

    mlflow_port: int = 0
    prefect_port: int = 0
    gateway_port: int = 0
    clock: str = "system"
    tick: int = 60


def find_free_port(wanted: int, what: str, otherwise: str = "name another, or none for any") -> int:
    """A port that nothing listens on.

    Raises:
        Rejected: The wanted one is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise Rejected(f"port {wanted} for {what} is taken ({error.strerror}): {otherwise}") from error
        return int(probe.getsockname()[1])


def stack_environment(config: Settings) -> dict[str, str]:
    """Environment of every process of the stack, and of every client of Prefect."""
    return {
        **os.environ,
        **SERVER_ENVIRONMENT,
        "SUREFOOT_HOME": str(config.home),
        "SUREFOOT_PROJECT": str(config.project),
        "SUREFOOT_PYTHON": sys.executable,
        "PREFECT_HOME": str(config.home / "prefect"),
        "PREFECT_API_URL": f"{config.prefect}/api",
        "PREFECT_UI_API_URL": f"{config.prefect}/api",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        # The controller looks before a tick is due; a worker that takes it earlier would start a process for nothing.
        "PREFECT_WORKER_PREFETCH_SECONDS": "0",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "surefoot",
        "MLFLOW_TRACKING_URI": config.mlflow,
        "PYTHONUNBUFFERED": "1",
    }


def _start(config: Settings, name: str, command: list[str], env: Mapping[str, str]) -> tuple[int, float]:
    """Start one process in a group of its own, its output in a file."""
    logs = config.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / f"{name}.log").open("ab", buffering=0) as log:
        log.write(_BEGINS.encode())
        child = subprocess.Popen(  # noqa: S603 - our own programs
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=config.project,
            env={**env, processes.PART_ENVIRONMENT_VARIABLE: name},
            start_new_session=True,
            preexec_fn=reset_signal_handlers,  # noqa: PLW1509 - it takes no lock that another thread could hold
        )
    return child.pid, psutil.Process(child.pid).create_time()


def _wait(config: Settings, name: str, url: str, ready: Callable[[], bool] = lambda: True) -> None:
    """Wait until a server answers and is ready; its process dying ends the wait."""
    deadline = time.monotonic() + _SERVER_START_TIMEOUT_S
    pid = config.processes[name][0]
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=2.0, trust_env=False).status_code < 400 and ready():  # noqa: PLR2004 - HTTP
                return
        if not processes.is_alive(config.processes[name]):
            raise Unavailable(f"{name} (process {pid}) ended while starting: {_last_word(config, name)[:300]}")
        time.sleep(0.2)
    raise Unavailable(
        f"{name} did not answer at {url} within {_SERVER_START_TIMEOUT_S:.0f} s: see {config.home}/logs/{name}.log"
    )


def _last_word(config: Settings, name: str) -> str:
    """Why a process has ended: its error, if it is one of our commands, or else the last line of its log."""
    log = (config.home / "logs" / f"{name}.log").read_text(errors="replace").rpartition(_BEGINS)[2]
    lines = log.strip().splitlines() or [""]
    errors = [line for line in lines if line.startswith("surefoot: ")]  # libraries may say something after it
    return (errors or lines)[-1].removeprefix("surefoot: ")


def running_services(config: Settings) -> dict[str, bool]:
    """Which of the processes are running."""
    return {name: processes.is_alive(process) for name, process in config.processes.items()}


def start_stack(home: Path, project: Path, options: StackOptions, report: _PrintLine = lambda _line: None) -> Settings:
    """Start everything and wait until each part answers; of a stack that runs in part, only what is missing.

    Raises:
        Rejected: All of it is running already, a port is taken, or the project folder holds no flows.
        Conflict: Another command starts or stops the same stack.
        Unavailable: A part did not come up; what was started has been stopped again.
    """
    with processes.hold_stack_lock(home):
        return _up(home, project, options, report)


def _up(home: Path, project: Path, options: StackOptions, report: _PrintLine) -> Settings:
    before = _before(home)
    if before and (any(running_services(before).values()) or processes.orphaned_gateway_workers(home)):
        return _again(before, project, options, report)
    _holds_flows(project)
    ports = {
        name: find_free_port(wanted, name)
        for name, wanted in (
            ("mlflow", options.mlflow_port),
            ("prefect", options.prefect_port),
            ("gateway", options.gateway_port),
        )
    }
    config = Settings(
        home=home,
        project=project,
        mlflow=f"http://127.0.0.1:{ports['mlflow']}",
        prefect=f"http://127.0.0.1:{ports['prefect']}",
        gateway=f"http://127.0.0.1:{ports['gateway']}",
        token=before.token if before else secrets.token_urlsafe(24),
        clock=options.clock,
        journal=before.journal if before else "",
        tick=options.tick,
    )
    stray = processes.stack_processes(home)
    if stray:  # a command that was killed has started them and could not write down that it had
        report(f"stopping {len(stray)} processes that an interrupted 'surefoot up' has left behind")
        processes.end_processes(stray, [], _SHUTDOWN_TIMEOUT_S)
    config.save()
    try:
        return _bring_up(config, STACK_SERVICES, set(), report)
    except BaseException:
        stop_stack(read_settings(home))
        raise


def _holds_flows(project: Path) -> None:
    if not (project / "prefect.yaml").is_file():
        raise Rejected(
            f"{project} has no prefect.yaml: run 'surefoot up' in the project folder, or name it with --project"
        )


def _again(config: Settings, project: Path, options: StackOptions, report: _PrintLine) -> Settings:
    """Start what is missing, at the addresses that it had: callers and every other part know no other ones."""
    runs = [name for name, lives in running_services(config).items() if lives]
    missing = [name for name in STACK_SERVICES if name not in runs]
    if not missing:
        raise Rejected(f"a stack is running in {config.home} (MLflow {config.mlflow}): 'surefoot down' stops it")
    _agree(config, project, options)
    _holds_flows(config.project)
    ports = _ports(config)
    orphans = processes.orphaned_gateway_workers(config.home) if "gateway" in missing else []
    for name in missing:
        if name in ("mlflow", "prefect") and name in config.processes:  # the port is held by what it has left behind
            processes.end_processes([], processes.processes_in_session(config.home, config.processes[name]), 0.0)
        if name in ports and not (name == "gateway" and orphans):  # these hand their socket over
            find_free_port(
                ports[name], name, "the stack had it: end who has taken it, or let 'surefoot down' end the rest"
            )
    serving = [f"{len(orphans)} gateway workers without a supervisor"] if orphans else []
    report(f"already running: {', '.join(runs + serving)}; starting again: {', '.join(missing)}")
    pending: set[str] = set()
    try:
        return _bring_up(config, missing, pending, report)
    except BaseException:
        _halt(read_settings(config.home), pending)  # and nothing else: the rest was of use before
        raise


def _ports(config: Settings) -> dict[str, int]:
    """Ports of the servers, by name."""
    urls = {"mlflow": config.mlflow, "gateway": config.gateway, "prefect": config.prefect}
    return {name: urlsplit(url).port or 80 for name, url in urls.items()}


def _agree(config: Settings, project: Path, options: StackOptions) -> None:
    """Refuse options that a stack which runs in part cannot follow."""
    wanted = {"mlflow": options.mlflow_port, "gateway": options.gateway_port, "prefect": options.prefect_port}
    pairs = [(f"--{name}-port", wanted[name], port, 0) for name, port in _ports(config).items()]
    known: list[tuple[str, object, object, object]] = [
        *pairs,
        ("--clock", options.clock, config.clock, StackOptions().clock),
        ("--tick", options.tick, config.tick, StackOptions().tick),
    ]
    if (project / "prefect.yaml").is_file():  # else it is the folder in which somebody happens to be
        known.append(("--project", project.resolve(), config.project.resolve(), None))
    for option, wish, has, default in known:
        if wish not in (default, has):
            raise Rejected(
                f"a part of the stack in {config.home} is running with {option} {has}, not {wish}: leave it out to "
                "start what is missing, or 'surefoot down' first"
            )


def _before(home: Path) -> Settings | None:
    try:
        return read_settings(home)
    except Rejected:
        return None


def _bring_up(config: Settings, wanted: Collection[str], pending: set[str], report: _PrintLine) -> Settings:
    """Start what is wanted; `pending` names at any time what has been started and does not answer yet."""
    env = stack_environment(config)
    python = [sys.executable, "-m"]

    def begin(name: str, *command: str) -> None:
        nonlocal config
        pending.add(name)
        with defer_stop_signals():
            config = _remember(config, name, _start(config, name, [*python, *command], env))

    def came(name: str, title: str, url: str) -> None:
        pending.remove(name)
        report(f"{title:8} {url}")

    ports = {name: ("--host", "127.0.0.1", "--port", str(port)) for name, port in _ports(config).items()}
    if "prefect" in wanted:
        begin("prefect", "prefect", "server", "start", *ports["prefect"])
    if "mlflow" in wanted:
        store = config.home / "mlflow"
        store.mkdir(parents=True, exist_ok=True)
        places = ("--backend-store-uri", f"sqlite:///{store / 'mlflow.db'}", "--artifacts-destination")
        begin("mlflow", "mlflow", "server", *ports["mlflow"], "--workers", "1", *places, str(store / "artifacts"))
        _wait(config, "mlflow", f"{config.mlflow}/health")
        came("mlflow", "MLflow", config.mlflow)
    if "gateway" in wanted:
        begin("gateway", "surefoot", "gateway")
        supervisor = config.processes["gateway"][0]
        # Workers of an earlier supervisor answer all the time.
        _wait(
            config, "gateway", f"{config.gateway}/version", lambda: processes.has_http_worker(config.home, supervisor)
        )
        came("gateway", "gateway", config.gateway)
    if "prefect" in wanted:
        _wait(config, "prefect", f"{config.prefect}/api/health")
    if "worker" in wanted:
        # A flow that outlived its worker would act beside the one that is started for the same rollout.
        processes.end_processes([], processes.stack_processes(config.home, ("worker",)), 0.0)
        for name in prefect_server.mark_leftover_runs_crashed(config):
            report(f"flow run '{name}' was cut off when the stack was stopped: marked as crashed")
        before = prefect_server.read_paused_schedules(config)
        begin(
            "worker",
            "prefect",
            "worker",
            "start",
            "--pool",
            prefect_server.WORK_POOL_NAME,
            "--type",
            "process",
            "--name",
            "surefoot",
        )
        prefect_server.wait_for_pool(config)
        deploy = [*python, "prefect", "--no-prompt", "deploy", "--all"]
        done = subprocess.run(deploy, cwd=config.project, env=env, capture_output=True, text=True, check=False)  # noqa: S603 - ours
        (config.home / "logs" / "deploy.log").write_text(done.stdout + done.stderr, encoding="utf-8")
        if done.returncode:
            raise Unavailable(f"the flows could not be deployed: see {config.home}/logs/deploy.log")
        prefect_server.set_schedule_intervals(config, before)
        for line in prefect_server.describe_paused_flows(config, prefect_server.PREFECT_TIMEOUT_S):
            report(line)
        pending.remove("worker")
    if "controller" in wanted:
        begin("controller", "surefoot", "controller")
        pending.remove("controller")  # nothing depends on it: the worker takes the ticks that it does not answer
    if "prefect" in wanted:
        came("prefect", "Prefect", config.prefect)
    return config


def _remember(config: Settings, name: str, process: tuple[int, float]) -> Settings:
    """Write down what was started before waiting for it, so that `down` finds it whatever happens."""
    config = replace(config, processes={**config.processes, name: process})
    config.save()
    return config


def stop_stack_of_home(home: Path, report: _PrintLine = lambda _line: None) -> None:
    """Stop what was started for a home, also when the file that names its processes is missing or broken.

    Raises:
        Rejected: Nothing was ever started there.
        Conflict: Another command starts or stops the same stack.
    """
    with processes.hold_stack_lock(home):
        config = _before(home)
        if config is not None:
            stop_stack(config, report)
            return
        stray = processes.stack_processes(home)
        if not stray:
            raise Rejected(f"no stack in {home}: start one with 'surefoot up', or set SUREFOOT_HOME")
        processes.end_processes(stray, [], _SHUTDOWN_TIMEOUT_S)
        report(f"stopped {len(stray)} processes that were started for {home}")


def stop_stack(config: Settings, report: _PrintLine = lambda _line: None) -> None:
    """Stop what was started, worker first, and front workers of the gateway whose supervisor is gone."""
    _halt(config, STACK_SERVICES, processes.orphaned_gateway_workers(config.home), report)
    stray = processes.stack_processes(config.home)
    if stray:
        processes.end_processes(stray, [], _SHUTDOWN_TIMEOUT_S)
        report(f"stopped {len(stray)} processes that nothing had written down")


def _halt(
    config: Settings,
    names: Collection[str],
    orphans: Collection[psutil.Process] = (),
    report: _PrintLine = lambda _line: None,
) -> None:
    """Stop these parts, and forget them."""
    from surefoot.gateway.supervision.supervisor import WORKER_STOP_TIMEOUT_S  # noqa: PLC0415 - the other commands need no server

    for name in ("worker", "controller", "gateway", "mlflow", "prefect"):
        recorded = config.processes.get(name) if name in names else None
        leaders = processes.find_running_process(recorded) if recorded else []
        others = processes.processes_in_session(config.home, recorded) if recorded else []
        stray = orphans if name == "gateway" else ()
        if leaders or others or stray:
            # The supervisor kills its workers after its own time limit; before that they answer what is under way.
            patience = WORKER_STOP_TIMEOUT_S + _SHUTDOWN_TIMEOUT_S if name == "gateway" else _SHUTDOWN_TIMEOUT_S
            processes.end_processes([*leaders, *stray], others, patience)
            report(f"stopped {name}" + (f", {len(stray)} workers without a supervisor among it" if stray else ""))
    replace(config, processes={name: pid for name, pid in config.processes.items() if name not in names}).save()
