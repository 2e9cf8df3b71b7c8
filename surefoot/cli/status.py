"""Define the command `status`, which shows what is served, which rollout is open, and all known problems."""

import contextlib
import time
from typing import Annotated

import typer
from rich.markup import escape

from surefoot import wiring
from surefoot.adapters import flow_progress
from surefoot.cli.connect.connected_servers import look_at_connected, pool_problems
from surefoot.cli.decisions.wait_notes import describe_waits
from surefoot.cli.local import prefect_server, stack
from surefoot.cli.printing.console import console, format_utc_time, print_json
from surefoot.cli.printing.status_output import print_status, status_json
from surefoot.cli.read_only import JsonOption
from surefoot.cli.shared.actor import current_actor
from surefoot.core.domain import Outcome, RolloutKind, Split
from surefoot.core.durations import format_duration
from surefoot.core.errors import NotFound, SurefootError, Unavailable
from surefoot.core.journal.event_sentences import describe_event, describe_failover
from surefoot.core.journal.events import LIVE_SPLIT_DRIFT
from surefoot.core.journal.ledger import Ledger
from surefoot.core.policy.parse import parse_policy
from surefoot.core.rollback.stepped_rollback import waits_for_person
from surefoot.core.serving_engines.engine_abilities import EngineName
from surefoot.core.state_machine import gate_evaluation_interval
from surefoot.incidents.notifications import read_notifier_state
from surefoot.rollout import (
    Ports,
    is_live_drill_overdue,
    is_live_drill_route_left,
    journal_behind_gateway_message,
    split_mismatch,
    table_problems,
)
from surefoot.settings import Settings, read_settings

_MAX_MISSED_TICKS = 2.0
"""Ticks that may be missed before it is said [count]."""
_REGISTRY_TIMEOUT_S = 3.0
"""How long the registry may take to tell its aliases [s]."""
_PREFECT_TIMEOUT_S = 2.0
"""How long Prefect may take to tell its schedules [s]."""


def status(
    model: Annotated[str | None, typer.Argument(help="Registered model; all without a name.")] = None,
    json_: JsonOption = False,
) -> int:
    """Say what is served, since when, why, what is under way, and what is wrong; exits with 1 when something is."""
    config = read_settings()
    running = stack.running_services(config)
    with wiring.open_ports(config, current_actor(), _REGISTRY_TIMEOUT_S) as ports:
        servers = look_at_connected(config, _PREFECT_TIMEOUT_S)
        usable = {**running, **{one.name: not one.problem for one in servers}}
        general = [*_parts(running), *(one.problem for one in servers if one.problem)]
        general += [*_schedules(config, usable), *_ticks(config, running), *_policies(config)]
        general += _notifier(config)
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
            ledger, live, trouble, notes, aliases = _look(config, ports, name, usable)
            wrong = wrong or bool(trouble)
            if json_:
                found.append({**status_json(ledger, live, aliases), "trouble": trouble, "notes": notes})
            else:
                print_status(ledger, live, [*trouble, *notes])
        if json_:
            connected = {one.name: {"url": one.url, "version": one.version, "problem": one.problem} for one in servers}
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


def _look(
    config: Settings, ports: Ports, name: str, running: dict[str, bool]
) -> tuple[Ledger, Split | None, list[str], list[str], dict[str, str] | None]:
    """One model: state, live split, what is wrong, what is worth knowing, and the registry's aliases."""
    trouble: list[str] = []
    notes: list[str] = []
    ledger, live, aliases = Ledger(name), None, None
    try:
        ledger = ports.ledger(name)
    except SurefootError as error:
        trouble.append(str(error))
    try:
        live = ports.engine(ledger).live(name)
        if ledger.engine.name is EngineName.GATEWAY:
            wrong, told = _gateway_notes(config, name)
            trouble += wrong
            notes += told
        engine = ledger.engine.abilities.title
        if live is None and not trouble:
            trouble.append(f"{engine} does not serve this model yet: 'reconcile' sees to it once it has a champion")
        if live and live.generation > ledger.head:
            trouble.append(journal_behind_gateway_message(name, ledger.head, live.generation, engine))
        elif live and (mismatch := split_mismatch(ledger, live)):
            trouble.append(f"{mismatch}: 'surefoot history {name}' shows why")
    except SurefootError as error:
        trouble += [str(error), *_waiting_rollback(ledger)]
    if running.get("mlflow", True):
        try:
            aliases = wiring.make_registry(config, _REGISTRY_TIMEOUT_S).aliases(name)
            trouble += _alias(ledger, aliases)
        except SurefootError as error:
            trouble.append(f"the registry does not tell its aliases: {error}")
    trouble += [
        f"{drift.what} should be {drift.expected}: {drift.seen}"
        for drift in ledger.drifts.values()
        if not (drift.what == LIVE_SPLIT_DRIFT and live is not None)  # told by what the gateway serves now
        if not (drift.alias == "champion" and aliases is not None)  # told by what the alias says now
        or (drift.repeat and aliases is not None and aliases.get("champion") != drift.number)
    ]
    trouble += table_problems(ledger)
    trouble += [*_fallback(ledger), *_overdue(ledger, ports), *_held(ledger)]
    notes += [f"version {number} is not taken: {one.reason}" for number, one in ledger.refusals.items()]
    wrong, tried = _drilled(ledger)
    trouble += wrong
    notes += tried
    notes += _incidents(ledger)
    notes += describe_waits(ports, ledger)
    notes += _stale_drill(config, ports, ledger)
    (trouble if is_live_drill_overdue(ledger, ports.clock.now()) else notes).extend(_live_drill(ledger))
    alarms, early = _watched(ledger)
    trouble += alarms
    notes += early
    return ledger, live, trouble, notes, aliases


def _gateway_notes(config: Settings, model: str) -> tuple[list[str], list[str]]:
    """What the gateway says of a model: what is wrong, and what is worth knowing."""
    with wiring.open_traffic(config) as traffic:
        killed, told = traffic.kill_switch_reason(), traffic.serving_notes(model)
    wrong = [line for line in told if "cannot be served" in line]
    if killed:
        wrong.append(f"the kill switch is set ({killed}): no candidate gets traffic until 'surefoot kill --lift'")
    return wrong, [line for line in told if "cannot be served" not in line]


def _waiting_rollback(ledger: Ledger) -> list[str]:
    """That traffic could not be taken back yet, because the engine does not answer."""
    rollout = ledger.rollout
    if rollout is None or not (rollout.ending or rollout.opened.kind == RolloutKind.ROLLBACK):
        return []
    engine, target = ledger.engine.abilities.title, rollout.rollback_target.number
    return [
        f"traffic is not back at version {target} as far as is known: 'reconcile' repeats it until {engine} answers"
    ]


def _stale_drill(config: Settings, ports: Ports, ledger: Ledger) -> list[str]:
    """That promotions wait for a drill."""
    policy = wiring.read_policies(config).get(ledger.model)
    if policy is None or ledger.champion is None:
        return []
    problem = ledger.drills.promotion_problem(ledger.model, policy.drill, ports.clock.now())
    return [f"no version is promoted now: {problem}"] if problem else []


def _live_drill(ledger: Ledger) -> list[str]:
    """That the champion is its own candidate for now, or was left so."""
    if not is_live_drill_route_left(ledger) or ledger.champion is None:
        return []
    name = ledger.drills.live.drill if ledger.drills.live is not None else "an earlier one"
    return [
        f"live drill: version {ledger.champion.number} is in both arms ({name}); 'surefoot drill --stop-all' ends it"
    ]


def _incidents(ledger: Ledger) -> list[str]:
    """Incidents that no person has closed, and those whose evidence is kept though they are."""
    known = ledger.incidents.known.values()
    return [
        *(
            f"incident {one.name} of version {one.version.number} is open: 'surefoot incident show {one.name}'"
            for one in known
            if one.closed is None
        ),
        *(
            f"nothing of the prediction log expires since incident {one.name}: 'surefoot incident release {one.name}'"
            for one in known
            if one.closed is not None and one.held is not None
        ),
    ]


def _parts(running: dict[str, bool]) -> list[str]:
    return [f"{part} is not running: 'surefoot up' starts it" for part, alive in running.items() if not alive]


def _schedules(config: Settings, usable: dict[str, bool]) -> list[str]:
    """Scheduled flows that a person has turned off, and a work pool in which nothing runs."""
    if not usable.get("prefect", False):
        return []
    try:
        paused = prefect_server.describe_paused_flows(config, _PREFECT_TIMEOUT_S)
        return [*paused, *pool_problems(config, _PREFECT_TIMEOUT_S)]
    except Unavailable as error:
        return [str(error)]


def _ticks(config: Settings, running: dict[str, bool]) -> list[str]:
    """Scheduled flows that have not come for more than two ticks."""
    found = []
    started = max((born for _, born in config.processes.values()), default=0.0)
    for name, purpose in prefect_server.PAUSED_FLOW_EFFECTS.items():
        last = flow_progress.last_heartbeat(config.home, name)
        silent = time.time() - max(last or 0.0, started)
        if running and silent > _MAX_MISSED_TICKS * config.tick + prefect_server.FLOW_START_TIMEOUT_S:
            when = f"since {format_utc_time(last)} UTC" if last else "since the stack was started"
            found.append(f"no tick of '{name}' {when} (one every {config.tick} s is due): {purpose}")
    return found


def _policies(config: Settings) -> list[str]:
    return [f"policy of {model} is wrong: {error}" for model, error in wiring.broken_policies(config).items()]


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


def _alias(ledger: Ledger, aliases: dict[str, str]) -> list[str]:
    """Whether alias champion says what is served."""
    if ledger.champion is None or ledger.open or aliases.get("champion") == ledger.champion.number:
        return []
    says = f"points to version {aliases['champion']}" if "champion" in aliases else "is not set"
    number = ledger.champion.number
    mend = f"'surefoot repair {ledger.model}' sets it to {number}"
    return [f"alias champion {says}, but version {number} is served: {mend}"]


def _watched(ledger: Ledger) -> tuple[list[str], list[str]]:
    """What the last look at the champion that serves has found: alarms, and early signals."""
    found = ledger.watch.found
    if found is None or found.champion != ledger.champion:
        return [], []
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(ledger.watch.at))
    since = f"version {found.champion.number}, watched at {when} UTC"
    worse = [
        f"{since}: version {one.against.number} would do better now: {one.verdict.reason}"
        for one in ledger.watch.judged.values()
        if one.rollout == found.rollout and one.verdict.outcome is Outcome.FAIL
    ]
    return [*worse, *(f"{since}: {one}" for one in found.alarms)], [
        f"{since}, early: {one}; {ledger.watch.early[name].sentence}"
        for name, one in zip(found.early_signals, found.early, strict=False)
    ]


def _held(ledger: Ledger) -> list[str]:
    """Whether a stepped rollback waits for a person."""
    rollout = ledger.rollout
    if rollout is None or not waits_for_person(rollout):
        return []
    ways = f"'surefoot rollback {ledger.model} --now' moves all traffic, 'surefoot abort {ledger.model}' calls it off"
    return [f"the rollback is held at step {rollout.step + 1}: {rollout.reason}; {ways}"]


def _fallback(ledger: Ledger) -> list[str]:
    """Whether callers get answers of the proven-good version, or fallback answers."""
    return [
        f"callers get {describe_failover(began)} since {format_utc_time(since)} UTC:"
        f" version {began.champion.number} fails: {began.reason}"
        for began, since in ledger.fallbacks.values()
    ]


def _drilled(ledger: Ledger) -> tuple[list[str], list[str]]:
    """What the latest drill of the fallback has found: what is wrong, and what is worth knowing."""
    if ledger.drilled is None:
        return [], []
    found, at = ledger.drilled
    said = f"{describe_event(found)} ({format_utc_time(at)} UTC)"
    return ([said], []) if found.problem else ([], [said])


def _overdue(ledger: Ledger, ports: Ports) -> list[str]:
    """Whether the open rollout has not been looked at for longer than its policy says."""
    rollout = ledger.rollout
    if rollout is None or rollout.ending or rollout.opened.kind != RolloutKind.PROMOTION:
        return []
    try:
        every = gate_evaluation_interval(rollout, parse_policy(rollout.opened.policy))
        late = ports.clock.now() - max(rollout.looked_at, rollout.entered_at)
    except (SurefootError, ValueError):
        return []
    if late <= _MAX_MISSED_TICKS * every + prefect_server.FLOW_START_TIMEOUT_S:
        return []
    due = format_duration(every)
    return [f"the last look was {format_duration(late)} ago, and one is due every {due}: nothing is judged meanwhile"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)
