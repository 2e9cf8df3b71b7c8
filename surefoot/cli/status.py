"""Define the command `status`, which shows what is served and all known problems."""

import contextlib
import time
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from surefoot import wiring
from surefoot.adapters import flow_progress
from surefoot.cli.connect.connected_servers import check_connected_servers, find_work_pool_problems
from surefoot.cli.local import prefect_server, processes, stack
from surefoot.cli.printing.console import console, format_utc_time, print_json
from surefoot.cli.printing.status_output import print_status, status_json
from surefoot.cli.read_only import JsonOption
from surefoot.cli.shared.actor import current_actor
from surefoot.core.errors import NotFound, Rejected, SurefootError, Unavailable
from surefoot.incidents.notifications import read_notifier_state
from surefoot.rollout import Ports
from surefoot.settings import Settings, read_settings
from surefoot.status_page.model_status import (
    FLOW_START_TIMEOUT_S,
    MAX_MISSED_TICKS,
    REGISTRY_TIMEOUT_S,
    read_model_status,
)
from surefoot.wiring.telemetry.journal_delivery import list_receiver_states

_WATCH_S = 2.0
"""Time between two looks of `--watch` [s]."""
_PREFECT_TIMEOUT_S = 2.0
"""How long Prefect may take to tell its schedules [s]."""


def status(
    model: Annotated[str | None, typer.Argument(help="Registered model; all without a name.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it again every two seconds, until Ctrl-C.")
    ] = False,
    json_: JsonOption = False,
) -> int:
    """Say what is served, since when, why, what is under way, and what is wrong; exits with 1 when something is."""
    config = read_settings()
    if not watch:
        return _show(config, model, json_=json_)
    if json_:
        raise Rejected("--watch is for people, and --json for programs: leave one of them out")
    return _follow(config, model)


def _follow(config: Settings, model: str | None) -> int:
    """Show the status again and again; where the output is no terminal, one after the other.

    Returns:
        What the last look found.
    """
    code = 0
    with contextlib.suppress(KeyboardInterrupt), Live(console=Console(), screen=console.is_terminal) as shown:
        while True:
            with console.capture() as captured:
                try:
                    code = _show(config, model, json_=False)
                except SurefootError as error:
                    code = 1
                    console.print(f"[magenta]{escape(str(error))}[/magenta]")
            stamp = f"{format_utc_time(time.time())} UTC, every {_WATCH_S:g} s; Ctrl-C ends this, and nothing else"
            shown.update(Group(Text(stamp, style="dim"), Text.from_ansi(captured.get())), refresh=True)
            time.sleep(_WATCH_S)
    return code


def _show(config: Settings, model: str | None, *, json_: bool) -> int:
    """Look once, and print what was found."""
    running = stack.check_running_services(config)
    with wiring.open_ports(config, current_actor(), REGISTRY_TIMEOUT_S) as ports:
        servers = check_connected_servers(config, _PREFECT_TIMEOUT_S)
        usable = {**running, **{one.name: not one.problem for one in servers}}
        general = [*_parts(running), *(one.problem for one in servers if one.problem)]
        general += [*_schedules(config, usable), *_ticks(config, running), *_policies(config)]
        general += [*_notifier(config), *_telemetry(config)]
        found: list[dict[str, object]] = []
        wrong = bool(general)
        try:
            known = sorted({*ports.journal.models(), *wiring.read_policies(config), *_served(ports)})
        except SurefootError as error:
            general.append(str(error))
            known, wrong = sorted(wiring.read_policies(config)), True
        if model and model not in known:
            raise NotFound(f"nothing is known of {model}; known: {', '.join(known) or 'none'}")
        if not json_:
            for line in (one.line for one in servers):
                console.print(line, markup=False)
            for line in general:
                console.print(f"[magenta]{escape(line)}[/magenta]")
        for name in [model] if model else known:
            one = read_model_status(config, ports, name, registry=usable.get("mlflow", True))
            wrong = wrong or bool(one.trouble)
            if json_:
                plain = status_json(one.ledger, one.live, one.aliases)
                found.append({**plain, "trouble": one.trouble, "notes": one.notes})
            else:
                print_status(one.ledger, one.live, [*one.trouble, *one.notes])
        if json_:
            connected = {s.name: {"url": s.url, "version": s.version, "problem": s.problem} for s in servers}
            print_json(
                {"models": found, "processes": running, "connected": connected, "trouble": general, "ok": not wrong}
            )
        elif not known:
            console.print(f"no model yet: write a policy into {config.configs} and set alias champion in MLflow")
        return 1 if wrong else 0


def _served(ports: Ports) -> list[str]:
    """Models that the gateway serves, whether the journal knows them or not."""
    with contextlib.suppress(SurefootError):
        return list(ports.traffic.generations())  # type: ignore[attr-defined]
    return []


def _parts(running: dict[str, bool]) -> list[str]:
    return [f"{part} is not running: 'surefoot up' starts it" for part, alive in running.items() if not alive]


def _schedules(config: Settings, usable: dict[str, bool]) -> list[str]:
    """Scheduled flows that a person has turned off, and a work pool in which nothing runs."""
    if not usable.get("prefect", False):
        return []
    try:
        paused = prefect_server.describe_paused_flows(config, _PREFECT_TIMEOUT_S)
        return [*paused, *find_work_pool_problems(config, _PREFECT_TIMEOUT_S)]
    except Unavailable as error:
        return [str(error)]


def _ticks(config: Settings, running: dict[str, bool]) -> list[str]:
    """Scheduled flows that have not come for more than two ticks."""
    found = []
    started = max(map(processes.compute_process_start_time, config.processes.values()), default=0.0)
    for name, purpose in prefect_server.PAUSED_FLOW_EFFECTS.items():
        last = flow_progress.last_heartbeat(config.home, name)
        silent = time.time() - max(last or 0.0, started)
        if running and silent > MAX_MISSED_TICKS * config.tick + FLOW_START_TIMEOUT_S:
            when = f"since {format_utc_time(last)} UTC" if last else "since the stack was started"
            found.append(f"no tick of '{name}' {when} (one every {config.tick} s is due): {purpose}")
    return found


def _policies(config: Settings) -> list[str]:
    return [f"policy of {model} is wrong: {error}" for model, error in wiring.find_broken_policies(config).items()]


def _notifier(config: Settings) -> list[str]:
    """Receivers that refuse messages, messages that were given up, and a heartbeat address that does not answer."""
    try:
        state = read_notifier_state(config)
    except SurefootError as error:
        return [f"the outbox of messages cannot be read: {error}"]
    found = [f"no message is sent: {state.file_problem}"] if state.file_problem else []
    for one in state.backlogs:
        since = f" since {format_utc_time(one.since)} UTC" if one.since is not None else ""
        left = [f"{one.waiting} wait"] if one.waiting else []
        left += [f"{one.expired} were given up"] if one.expired else []
        said = f"receiver {one.receiver} takes no messages{since} ({', '.join(left)}): {one.problem or 'not tried'}"
        found.append(f"{said}; 'surefoot notify --retry {one.receiver}' tries again")
    if state.heartbeat_problem:
        since = format_utc_time(state.heartbeat_since)
        found.append(f"the heartbeat address does not answer since {since} UTC: {state.heartbeat_problem}")
    return found


def _telemetry(config: Settings) -> list[str]:
    """Receivers of lineage events and spans that take nothing, or have refused something."""
    try:
        states = list_receiver_states(config)
    except SurefootError as error:
        return [f"how far telemetry was delivered cannot be read: {error}"]
    found = []
    for receiver, state in states:
        what = f"{receiver.kind} to {receiver.address}"
        if state.failing_since is not None:
            since = format_utc_time(state.failing_since)
            found.append(f"{what} is not delivered since {since} UTC: {state.problem}; it is tried again by itself")
        if state.refused:
            found.append(f"{what}: {state.refused} were refused and left out, the latest with {state.refusal}")
    return found


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)
