"""Start the services of a stack one by one, and wait until each answers."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from surefoot.adapters.mlflow.server.http_access import MLFLOW_CREDENTIAL_VARIABLES
from surefoot.adapters.mlflow.server.registry_webhook import register_webhook
from surefoot.cli.local import prefect_server, processes
from surefoot.cli.local.controller_lock import is_controller_ready
from surefoot.cli.local.prefect_access import PREFECT_CREDENTIAL_VARIABLES
from surefoot.cli.local.signals import defer_stop_signals, reset_signal_handlers
from surefoot.cli.postgres.postgres_place import Owner, postgres_folder
from surefoot.cli.postgres.postgres_server import is_ready, make_databases, prepare_postgres, run_as
from surefoot.core.access.webhook_messages import WEBHOOK_PATH, derive_secret_storage_key, derive_webhook_secret
from surefoot.core.errors import SurefootError, Unavailable
from surefoot.settings import OWN_WORK_POOL, Settings
from surefoot.tls_files import TlsFiles, make_client_context

STACK_SERVICES = ("postgres", "mlflow", "gateway", "prefect", "worker", "controller")
FLOW_DEPLOYMENTS = "deployments"
"""What is to be made although no process of ours runs it: the flows' deployments, for a pool that exists already."""
_SERVER_START_TIMEOUT_S = 240.0
"""How long a server may take to answer for the first time [seconds]."""
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
_EMBEDDED_PREFECT_IGNORES = (
    *PREFECT_CREDENTIAL_VARIABLES,
    "PREFECT_PROFILE",
    "PREFECT_SERVER_API_AUTH_STRING",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
    "PREFECT_API_DATABASE_CONNECTION_URL",
)
"""Variables that are meant for another server: the embedded one has its own file, and asks for no password."""

_PrintLine = Callable[[str], None]


def list_own_services(config: Settings) -> list[str]:
    """Parts that are processes of this stack: no connected server, and no worker for a pool that existed before."""
    others = {
        *config.connected,
        *(() if config.uses_postgres else ("postgres",)),
        *(() if config.pool == OWN_WORK_POOL else ("worker",)),
    }
    return [name for name in STACK_SERVICES if name not in others]


_JSON_LINES = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER": "json",
    "PREFECT_LOGGING_FORMATTERS_JSON_CLASS": "surefoot.telemetry.json_log.JsonLineFormatter",
}
"""Has Prefect's processes write the log lines of the worker and of flow runs as ours are written."""


def build_stack_environment(config: Settings) -> dict[str, str]:
    """Environment of every process of the stack, and of every client of Prefect."""
    ignored = {
        *(() if "prefect" in config.connected else _EMBEDDED_PREFECT_IGNORES),
        *(() if "mlflow" in config.connected else MLFLOW_CREDENTIAL_VARIABLES),
    }
    return {
        **{name: value for name, value in os.environ.items() if name not in ignored},
        **SERVER_ENVIRONMENT,
        "SUREFOOT_HOME": str(config.home),
        "SUREFOOT_PROJECT": str(config.project),
        "SUREFOOT_PYTHON": sys.executable,
        "SUREFOOT_POOL": config.pool,
        "PREFECT_HOME": str(config.home / "prefect"),
        "PREFECT_API_URL": config.prefect_api,
        "PREFECT_UI_API_URL": config.prefect_api,
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        # The controller looks before a tick is due; a worker that takes it earlier would start a process for nothing.
        "PREFECT_WORKER_PREFETCH_SECONDS": "0",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "surefoot",
        **(_JSON_LINES if config.log_format == "json" else {}),
        "MLFLOW_TRACKING_URI": config.mlflow,
        "PYTHONUNBUFFERED": "1",
    }


def _start(
    config: Settings,
    name: str,
    command: list[str],
    env: Mapping[str, str],
    folder: Path | None = None,
    owner: Owner | None = None,
) -> tuple[int, float]:
    """Start one process in a group of its own, as this user, its output in a file; by default in the project folder."""
    logs = config.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / f"{name}.log").open("ab", buffering=0) as log:
        log.write(_BEGINS.encode())
        child = subprocess.Popen(  # noqa: S603 - our own programs
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=folder or config.project,
            env={**env, processes.STACK_PROCESS_VARIABLE: name},
            start_new_session=True,
            preexec_fn=reset_signal_handlers,  # noqa: PLW1509 - it takes no lock that another thread could hold
            **run_as(owner),
        )
    return processes.identify_process(child.pid)


def _wait(
    config: Settings, name: str, url: str, ready: Callable[[], bool] = lambda: True, tls: TlsFiles | None = None
) -> None:
    """Wait until a server answers and is ready; its process dying ends the wait."""
    verify = make_client_context(tls)

    def answers() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            told = httpx.get(url, timeout=2.0, trust_env=False, verify=verify)
            return told.status_code < 400 and ready()  # noqa: PLR2004 - HTTP
        return False

    _wait_until(config, name, answers, f"did not answer at {url}")


def _wait_until(config: Settings, name: str, ready: Callable[[], bool], trouble: str) -> None:
    """Wait until a process is ready; its dying ends the wait."""
    deadline = time.monotonic() + _SERVER_START_TIMEOUT_S
    pid = config.processes[name][0]
    while time.monotonic() < deadline:
        if ready():
            return
        if not processes.is_alive(config.processes[name]):
            raise Unavailable(f"{name} (process {pid}) ended while starting: {_last_word(config, name)[:300]}")
        time.sleep(0.2)
    raise Unavailable(f"{name} {trouble} within {_SERVER_START_TIMEOUT_S:.0f} s: see {config.home}/logs/{name}.log")


def _wait_for_controller(config: Settings, report: _PrintLine) -> None:
    """Wait until it is ready: before that another one could take its place, and the page would not answer."""
    pid = config.processes["controller"][0]
    _wait_until(config, "controller", lambda: is_controller_ready(config.home, pid), "was not ready")
    if config.page:
        report(f"{'page':8} {config.page}")


def _last_word(config: Settings, name: str) -> str:
    """Why a process has ended: its error, if it is one of our commands, or else the last line of its log."""
    log = (config.home / "logs" / f"{name}.log").read_text(errors="replace").rpartition(_BEGINS)[2]
    lines = log.strip().splitlines() or [""]
    errors = [line for line in lines if line.startswith("surefoot: ")]  # libraries may say something after it
    return (errors or lines)[-1].removeprefix("surefoot: ")


def read_server_ports(config: Settings) -> dict[str, int]:
    """Ports of the servers that are processes of this stack, by name."""
    urls = {"mlflow": config.mlflow, "gateway": config.gateway, "prefect": config.prefect}
    return {name: urlsplit(url).port or 80 for name, url in urls.items() if name not in config.connected}


def start_wanted_services(config: Settings, wanted: Collection[str], pending: set[str], report: _PrintLine) -> Settings:
    """Start what is wanted; `pending` names at any time what has been started and does not answer yet."""
    env = build_stack_environment(config)
    if config.uses_postgres:
        config = _bring_up_postgres(config, env, wanted, pending, report)
    python = [sys.executable, "-m"]

    def begin(name: str, *command: str) -> None:
        nonlocal config
        pending.add(name)
        more = _server_environment(config, name)
        with defer_stop_signals():
            config = _remember(config, name, _start(config, name, [*python, *command], {**env, **more}))

    def came(name: str, title: str, url: str) -> None:
        pending.remove(name)
        report(f"{title:8} {url}")

    ports = {name: ("--host", "127.0.0.1", "--port", str(port)) for name, port in read_server_ports(config).items()}
    for name, title in (("mlflow", "MLflow"), ("prefect", "Prefect")):
        if name in config.connected:
            report(f"{title:8} {getattr(config, name)} (connected)")
    if "prefect" in wanted:
        begin("prefect", "prefect", "server", "start", *ports["prefect"])
    if "mlflow" in wanted:
        begin("mlflow", "mlflow", "server", *ports["mlflow"], "--workers", "1", *_mlflow_places(config))
        _wait(config, "mlflow", f"{config.mlflow}/health")
        came("mlflow", "MLflow", config.mlflow)
        _register_webhook(config, report)
    if "gateway" in wanted:
        begin("gateway", "surefoot", "gateway")
        supervisor = config.processes["gateway"][0]
        # Workers of an earlier supervisor answer all the time.
        _wait(
            config,
            "gateway",
            f"{config.gateway}/version",
            lambda: processes.has_http_worker(config.home, supervisor),
            config.tls,
        )
        came("gateway", "gateway", config.gateway)
    if "prefect" in wanted:
        _wait(config, "prefect", f"{config.prefect}/api/health")
    if "worker" in wanted:
        # A flow that outlived its worker would act beside the one that is started for the same rollout.
        processes.end_processes([], processes.find_stack_processes(config.home, ("worker",)), 0.0)
        for name in prefect_server.mark_leftover_runs_crashed(config):
            report(f"flow run '{name}' was cut off when the stack was stopped: marked as crashed")
        paused = prefect_server.read_paused_schedules(config)
        worker = ("prefect", "worker", "start", "--pool", config.pool, "--type", "process", "--name", "surefoot")
        begin("worker", *worker)
        prefect_server.wait_for_pool(config)
        _deploy_flows(config, env, paused, report)
        pending.remove("worker")
    elif FLOW_DEPLOYMENTS in wanted:
        _deploy_flows(config, env, prefect_server.read_paused_schedules(config), report)
    if "controller" in wanted:
        begin("controller", "surefoot", "controller")
        _wait_for_controller(config, report)
        pending.remove("controller")
    if "prefect" in wanted:
        came("prefect", "Prefect", config.prefect)
    return config


def _bring_up_postgres(
    config: Settings, env: Mapping[str, str], wanted: Collection[str], pending: set[str], report: _PrintLine
) -> Settings:
    """Start PostgreSQL, which the others need, and make its databases, which an interrupted `up` may not have done."""
    if "postgres" in wanted:
        pending.add("postgres")
        server = prepare_postgres(config, fresh=False)
        with defer_stop_signals():
            started = _start(config, "postgres", server.words, env, server.folder, server.owner)
            config = _remember(config, "postgres", started)
    _wait_until(config, "postgres", lambda: is_ready(config), "did not answer")
    version = make_databases(config)
    if "postgres" in wanted:
        pending.remove("postgres")
        report(f"PostgreSQL {version} in {postgres_folder(config.home)}")
    return config


def _mlflow_places(config: Settings) -> tuple[str, ...]:
    """Arguments that tell the embedded MLflow where it keeps its records and artifacts."""
    store = config.home / "mlflow"
    store.mkdir(parents=True, exist_ok=True)
    records = config.postgres_url("mlflow", "psycopg") if config.postgres else f"sqlite:///{store / 'mlflow.db'}"
    return "--backend-store-uri", records, "--artifacts-destination", str(store / "artifacts")


def _server_environment(config: Settings, name: str) -> dict[str, str]:
    """What one part needs in its environment beside what all have."""
    if name == "prefect" and config.postgres:
        return {"PREFECT_SERVER_DATABASE_CONNECTION_URL": config.postgres_url("prefect", "asyncpg")}
    return _mlflow_webhook_environment(config) if name == "mlflow" else {}


def _mlflow_webhook_environment(config: Settings) -> dict[str, str]:
    """What the embedded MLflow needs to send webhooks to the controller of this host."""
    return {
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
        # Without a key of its own each of its processes would invent one, and lose all webhooks at its next start.
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": derive_secret_storage_key(config.token),
        "MLFLOW_WEBHOOK_CACHE_TTL": "5",
    }


def _register_webhook(config: Settings, report: _PrintLine) -> None:
    """Have the embedded MLflow tell of moved aliases; without that they are seen at the next tick."""
    if not config.page:
        return
    if config.tls is not None:  # it verifies with its own list of public authorities alone
        report("note: moved aliases are seen at the next tick: MLflow trusts no private certificate of a webhook")
        return
    try:
        register_webhook(config.mlflow, f"{config.page}{WEBHOOK_PATH}", derive_webhook_secret(config.token))
    except SurefootError as error:
        report(f"note: moved aliases are seen at the next tick, since MLflow tells nothing of them: {error}")


def _deploy_flows(
    config: Settings, env: Mapping[str, str], paused: Mapping[str, prefect_server.PausedSchedules], report: _PrintLine
) -> None:
    """Deploy what prefect.yaml says, and leave off the schedules that people have turned off."""
    deploy = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(deploy, cwd=config.project, env=env, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    (config.home / "logs").mkdir(parents=True, exist_ok=True)
    (config.home / "logs" / "deploy.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode:
        raise Unavailable(f"the flows could not be deployed: see {config.home}/logs/deploy.log")
    prefect_server.set_schedule_intervals(config, paused)
    for line in prefect_server.describe_paused_flows(config, prefect_server.PREFECT_TIMEOUT_S):
        report(line)


def _remember(config: Settings, name: str, process: tuple[int, float]) -> Settings:
    """Write down what was started before waiting for it, so that `down` finds it whatever happens."""
    config = replace(config, processes={**config.processes, name: process})
    config.save()
    return config
