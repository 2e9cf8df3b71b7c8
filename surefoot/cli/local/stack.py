"""Start or stop the local stack: MLflow, Prefect, gateway and controller, and PostgreSQL where it is asked for."""

import socket
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import psutil

from surefoot.cli.connect.doctor_report import refuse_faulty_setup
from surefoot.cli.connect.host_checks import check_flows
from surefoot.cli.local import processes
from surefoot.cli.local.stack_options import (
    StackOptions,
    check_journal_continues,
    check_options_match_stack,
    describe_setting_changes,
    plan_settings,
    set_server_ports,
)
from surefoot.cli.local.start_services import (
    FLOW_DEPLOYMENTS,
    STACK_SERVICES,
    list_own_services,
    read_server_ports,
    start_wanted_services,
)
from surefoot.cli.postgres.postgres_server import ask_to_stop, prepare_postgres, serve_databases
from surefoot.core.errors import Rejected
from surefoot.settings import Settings, read_settings
from surefoot.tls_files import check_tls_files

_SHUTDOWN_TIMEOUT_S = 15.0
"""How long MLflow, Prefect, its worker and the controller may take to leave [seconds]."""
_PrintLine = Callable[[str], None]


def _find_free_port(wanted: int, what: str, otherwise: str = "name another, or none for any") -> int:
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


def check_running_services(config: Settings) -> dict[str, bool]:
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
    if before and (any(check_running_services(before).values()) or processes.find_orphaned_gateway_workers(home)):
        return _again(before, project, options, report)
    config = plan_settings(home, project, options, before)
    refuse_faulty_setup(config, report)
    if before and before.postgres and before.journal != config.journal:
        with serve_databases(before):
            check_journal_continues(before, config)
    else:
        check_journal_continues(before, config)
    wanted = {
        "mlflow": options.mlflow_port,
        "prefect": options.prefect_port,
        "gateway": options.gateway_port,
        "page": options.page_port,
    }
    found = {
        name: _find_free_port(port, name)
        for name, port in wanted.items()
        if name not in config.connected and not (name == "gateway" and config.listen)
    }
    config = set_server_ports(config, found)
    for line in describe_setting_changes(before, config):
        report(line)
    stray = processes.find_stack_processes(home)
    if stray:  # a command that was killed has started them and could not write down that it had
        report(f"stopping {len(stray)} processes that an interrupted 'surefoot up' has left behind")
        processes.end_processes(stray, [], _SHUTDOWN_TIMEOUT_S)
    if config.uses_postgres:  # first: a home that says so has databases, and misses them when they are gone
        prepare_postgres(config, fresh=not (before and before.postgres))
    config.save()
    try:
        return start_wanted_services(config, {*list_own_services(config), FLOW_DEPLOYMENTS}, set(), report)
    except BaseException:
        stop_stack(read_settings(home))
        raise


def _again(config: Settings, project: Path, options: StackOptions, report: _PrintLine) -> Settings:
    """Start what is missing, at the addresses that it had: callers and every other part know no other ones."""
    runs = [name for name, lives in check_running_services(config).items() if lives]
    missing = [name for name in list_own_services(config) if name not in runs]
    if not missing:
        if options.sources:
            check_options_match_stack(config, config.project, options, report)
        raise Rejected(f"a stack is running in {config.home} (MLflow {config.mlflow}): 'surefoot down' stops it")
    check_options_match_stack(config, project, options, report)
    check_flows(config.project)
    if config.tls is not None:
        check_tls_files(config.tls)
    ports = read_server_ports(config)
    orphans = processes.find_orphaned_gateway_workers(config.home) if "gateway" in missing else []
    for name in missing:
        if name in ("mlflow", "prefect") and name in config.processes:  # the port is held by what it has left behind
            processes.end_processes([], processes.find_session_processes(config.home, config.processes[name]), 0.0)
        if name in ports and not (name == "gateway" and orphans):  # these hand their socket over
            _find_free_port(
                ports[name], name, "the stack had it: end who has taken it, or let 'surefoot down' end the rest"
            )
    serving = [f"{len(orphans)} gateway workers without a supervisor"] if orphans else []
    report(f"already running: {', '.join(runs + serving)}; starting again: {', '.join(missing)}")
    pending: set[str] = set()
    try:
        return start_wanted_services(config, missing, pending, report)
    except BaseException:
        _halt(read_settings(config.home), pending)  # and nothing else: the rest was of use before
        raise


def _before(home: Path) -> Settings | None:
    try:
        return read_settings(home)
    except Rejected:
        return None


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
        stray = processes.find_stack_processes(home)
        if not stray:
            raise Rejected(f"no stack in {home}: start one with 'surefoot up', or set SUREFOOT_HOME")
        processes.end_processes(stray, [], _SHUTDOWN_TIMEOUT_S)
        report(f"stopped {len(stray)} processes that were started for {home}")


def stop_stack(config: Settings, report: _PrintLine = lambda _line: None) -> None:
    """Stop what was started, worker first, and front workers of the gateway whose supervisor is gone."""
    _halt(config, STACK_SERVICES, processes.find_orphaned_gateway_workers(config.home), report)
    stray = processes.find_stack_processes(config.home)
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

    for name in ("worker", "controller", "gateway", "mlflow", "prefect", "postgres"):
        recorded = config.processes.get(name) if name in names else None
        leaders = processes.find_running_process(recorded) if recorded else []
        others = processes.find_session_processes(config.home, recorded) if recorded else []
        stray = orphans if name == "gateway" else ()
        if leaders or others or stray:
            # The supervisor kills its workers after its own time limit; before that they answer what is under way.
            patience = WORKER_STOP_TIMEOUT_S + _SHUTDOWN_TIMEOUT_S if name == "gateway" else _SHUTDOWN_TIMEOUT_S
            if name == "postgres":
                ask_to_stop(leaders[0])
            processes.end_processes([*leaders, *stray], others, patience)
            report(f"stopped {name}" + (f", {len(stray)} workers without a supervisor among it" if stray else ""))
    replace(config, processes={name: pid for name, pid in config.processes.items() if name not in names}).save()
