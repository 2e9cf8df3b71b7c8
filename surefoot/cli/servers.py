"""Define the commands `up`, `down`, `gateway` and `controller`, which start or stop servers."""

import os
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from surefoot import wiring
from surefoot.adapters.mlflow.pyfunc.pyfunc_scorer import import_libraries_early
from surefoot.cli.connect.options import (
    JournalOption,
    LineageOption,
    ListenOption,
    LogFormatOption,
    MlflowOption,
    OtlpOption,
    PoolOption,
    PostgresOption,
    PrefectOption,
    ProjectOption,
    TlsCaOption,
    TlsCertificateOption,
    TlsKeyOption,
    stack_options,
)
from surefoot.cli.connect.setting_sources import resolve_settings
from surefoot.cli.local import stack
from surefoot.cli.local.signals import exit_on_stop_signals
from surefoot.cli.printing.console import console
from surefoot.settings import home_folder, read_settings
from surefoot.telemetry.json_log import write_log_lines

_PRELOADED = (
    "flows.promote",
    "flows.rollback",
    "flows.watch",
    "flows.reconcile",
    "mlflow.client",
    "surefoot.adapters.mlflow.model_host",
    "surefoot.adapters.mlflow.runs.projection",
    "surefoot.reports.verdict_plots",
    "surefoot.reports.evidence_over_time",
    "matplotlib.backends.backend_agg",
)
"""What flow runs import, but for Great Expectations."""
_PRELOADED_WHEN_IDLE = ("surefoot.adapters.expectations.preload",)
"""Great Expectations costs 5 CPU seconds: it is imported when no run waits for it."""


def up(
    project: ProjectOption = Path(),
    mlflow: MlflowOption = None,
    prefect: PrefectOption = None,
    pool: PoolOption = None,
    journal: JournalOption = None,
    postgres: PostgresOption = None,
    listen: ListenOption = None,
    tls_certificate: TlsCertificateOption = None,
    tls_key: TlsKeyOption = None,
    tls_ca: TlsCaOption = None,
    mlflow_port: Annotated[int | None, typer.Option(help="Port of MLflow; 0 takes any free one.")] = None,
    prefect_port: Annotated[int | None, typer.Option(help="Port of Prefect; 0 takes any free one.")] = None,
    gateway_port: Annotated[int | None, typer.Option(help="Port of the gateway; 0 takes any free one.")] = None,
    page_port: Annotated[int | None, typer.Option(help="Port of the status page; 0 takes any free one.")] = None,
    clock: Annotated[str | None, typer.Option(help="'system', or 'replay:FILE' for replayed traffic.")] = None,
    tick: Annotated[int | None, typer.Option(help="Seconds between two ticks of the scheduled flows.", min=5)] = None,
    lineage: LineageOption = None,
    otlp: OtlpOption = None,
    log_format: LogFormatOption = None,
) -> None:
    """Start MLflow, Prefect (server and worker), the gateway and the controller, and wait until each answers.

    What is named by an option, the environment or surefoot.toml is used and not started.
    """
    given: dict[str, object] = {
        "mlflow": mlflow,
        "prefect": prefect,
        "pool": pool,
        "journal": journal,
        "postgres": postgres or None,
        "listen": listen,
        "tls-certificate": tls_certificate,
        "tls-key": tls_key,
        "tls-ca": tls_ca,
        "mlflow-port": mlflow_port,
        "prefect-port": prefect_port,
        "gateway-port": gateway_port,
        "page-port": page_port,
        "clock": clock,
        "tick": tick,
        "lineage": lineage,
        "otlp": otlp,
        "log-format": log_format,
    }
    options = stack_options(resolve_settings(project.absolute(), given))
    began = time.monotonic()
    with exit_on_stop_signals(), console.status("starting MLflow, Prefect and the gateway"):
        config = stack.start_stack(home_folder(), project.absolute(), options, console.print)
    console.print(f"up in {time.monotonic() - began:.0f} s; state in {config.home}; 'surefoot down' stops it")


def down() -> None:
    """Stop what `up` has started, and no server that it only uses; all state stays."""
    stack.stop_stack_of_home(home_folder(), console.print)


def gateway(
    workers: Annotated[int, typer.Option(help="Front workers; 0 takes one a processor, at most four.", min=0)] = 0,
    model_memory: Annotated[
        int, typer.Option(help="Address space of a model's process in MB; 0 shares half of the host's.", min=0)
    ] = 0,
) -> None:
    """Serve models here, at the address that the stack was given; `up` starts this for you."""
    from surefoot.adapters.mlflow import model_host  # noqa: PLC0415 - the other commands need no server
    from surefoot.gateway.supervision.supervisor import Supervisor  # noqa: PLC0415 - same

    config = read_settings()
    if config.log_format == "json":
        write_log_lines(config.log_format)
    # A model's library that is imported while requests are served breaks them: everything comes first, and every
    # worker and every model's process is forked from here.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import_libraries_early()
    count = workers or min(4, len(os.sched_getaffinity(0)))
    memory = model_memory or wiring.compute_model_memory_mb(count)
    make = partial(wiring.build_gateway, config, memory)
    address = config.listen_address
    Supervisor(config.home / "gateway", address, count, make, model_host.run_model_host, config.tls).run()


def controller() -> None:
    """Look before each tick of the scheduled flows whether there is work for them; `up` starts this for you."""
    from surefoot.cli.local.controller_lock import hold_controller_lock  # noqa: PLC0415 - the other commands need no scheduler
    from surefoot.cli.local.prefect_runs import PrefectRuns  # noqa: PLC0415 - same
    from surefoot.controller.candidate_opener import CandidateOpener  # noqa: PLC0415 - same
    from surefoot.controller.controller import Controller  # noqa: PLC0415 - same
    from surefoot.controller.due_work import DueWork  # noqa: PLC0415 - same
    from surefoot.controller.flow_forkserver import FlowForkserver  # noqa: PLC0415 - same
    from surefoot.controller.notifier import Notifier  # noqa: PLC0415 - same
    from surefoot.controller.telemetry.telemetry_threads import TelemetryThreads  # noqa: PLC0415 - same
    from surefoot.controller.tick_state import TickState  # noqa: PLC0415 - same
    from surefoot.status_page.page_server import serve_status_page  # noqa: PLC0415 - same
    from surefoot.status_page.programs.wake_signal import WakeSignal  # noqa: PLC0415 - same

    config = read_settings()
    write_log_lines(config.log_format)
    runs = PrefectRuns(config)
    with hold_controller_lock(config.home) as say_ready:
        processes = FlowForkserver(config.project, _PRELOADED, _PRELOADED_WHEN_IDLE)
        notifier = Notifier(config)
        notifier.start()
        telemetry = TelemetryThreads(config)
        telemetry.start()
        signal = WakeSignal()
        try:
            with serve_status_page(config, signal):
                work = DueWork(TickState(config), runs)
                say_ready()
                Controller(work, runs, config.home, processes, notifier, signal, CandidateOpener()).run(signal.wait)
        finally:
            notifier.stop()
            telemetry.stop()


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, down, gateway, controller):
        app.command()(command)
