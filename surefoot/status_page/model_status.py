"""Read the status of one model: which versions are served, and what is wrong."""

import time
from dataclasses import dataclass, field

from surefoot import wiring
from surefoot.core.domain import Outcome, RolloutKind, Split
from surefoot.core.durations import format_duration
from surefoot.core.errors import SurefootError
from surefoot.core.journal.event_sentences import describe_event, describe_failover
from surefoot.core.journal.events import LIVE_SPLIT_DRIFT_NAME
from surefoot.core.journal.ledger import Ledger
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.violations import Violation
from surefoot.core.registry_drift.drift_events import describe_reaction
from surefoot.core.rollback.stepped_rollback import waits_for_person
from surefoot.core.serving_engines.engine_abilities import EngineName
from surefoot.core.state_machine import gate_evaluation_interval
from surefoot.reports.incident_page import format_time
from surefoot.rollout import (
    Ports,
    describe_journal_behind_gateway,
    describe_split_mismatch,
    describe_table_problems,
    has_live_drill_route,
    is_live_drill_overdue,
)
from surefoot.settings import Settings
from surefoot.status_page.wait_notes import describe_waits

MAX_MISSED_TICKS = 2.0
"""Ticks that may be missed before it is said [count]."""
FLOW_START_TIMEOUT_S = 60.0
"""How long a run of a flow may take to start and to come to its work on a busy machine [s]."""
REGISTRY_TIMEOUT_S = 3.0
"""How long the registry may take to tell its aliases [s]."""


@dataclass(slots=True)
class ModelStatus:
    """How one model stands.

    Attributes:
        ledger: What the journal says.
        live: The split that the engine tells; None where it does not tell one.
        aliases: Version numbers by alias as the registry tells them; None where it does not.
        trouble: What is wrong, a sentence each.
        notes: What is worth knowing, a sentence each.
        waits: Those of the notes that say what holds the rollout in place.
    """

    ledger: Ledger
    live: Split | None = None
    aliases: dict[str, str] | None = None
    trouble: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)


def read_model_status(
    config: Settings, ports: Ports, name: str, *, registry: bool, known: Ledger | None = None
) -> ModelStatus:
    """Ask journal, engine and registry about one model; what does not answer becomes a line of the trouble.

    Args:
        config: Where everything is.
        ports: The ports.
        name: Registered model.
        registry: Whether the registry is asked; False where it is known to be down.
        known: What the journal says, where it was read already.
    """
    trouble: list[str] = []
    notes: list[str] = []
    ledger, live, aliases = known or Ledger(name), None, None
    try:
        ledger = known or ports.ledger(name)
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
            trouble.append(describe_journal_behind_gateway(name, ledger.head, live.generation, engine))
        elif live and (mismatch := describe_split_mismatch(ledger, live)):
            trouble.append(f"{mismatch}: 'surefoot history {name}' shows why")
    except SurefootError as error:
        trouble += [str(error), *_waiting_rollback(ledger)]
    if registry:
        try:
            aliases = wiring.make_registry(config, REGISTRY_TIMEOUT_S).aliases(name)
            trouble += _alias(ledger, aliases)
        except SurefootError as error:
            trouble.append(f"the registry does not tell its aliases: {error}")
    trouble += [
        f"{drift.what} should be {drift.expected}: {drift.seen}"
        for drift in ledger.drifts.values()
        if not (drift.what == LIVE_SPLIT_DRIFT_NAME and live is not None)  # told by what the gateway serves now
        if not (drift.alias == "champion" and aliases is not None)  # told by what the alias says now
        or ((drift.repeat or ledger.open) and aliases is not None and aliases.get("champion") != drift.number)
    ]
    trouble += [describe_reaction(one) for one in ledger.drift.chosen.values()]
    trouble += describe_table_problems(ledger)
    trouble += [*_fallback(ledger), *_overdue(ledger, ports), *_held(ledger)]
    if ledger.drift.adopting:
        notes.append(f"version {ledger.drift.adopting}, on which alias champion was set, is to be promoted")
    notes += [f"version {number} is not taken: {one.reason}" for number, one in ledger.refusals.items()]
    wrong, tried = _drilled(ledger)
    trouble += wrong
    notes += tried
    notes += _incidents(ledger)
    waits = describe_waits(ports, ledger)
    notes += waits
    notes += _stale_drill(config, ports, ledger)
    (trouble if is_live_drill_overdue(ledger, ports.clock.now()) else notes).extend(_live_drill(ledger))
    alarms, early = _watched(ledger)
    trouble += alarms
    notes += early
    return ModelStatus(ledger, live, aliases, trouble, notes, waits)


def _gateway_notes(config: Settings, model: str) -> tuple[list[str], list[str]]:
    """What the gateway says of a model: what is wrong, and what is worth knowing."""
    with wiring.open_gateway_traffic(config) as traffic:
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
    if not has_live_drill_route(ledger) or ledger.champion is None:
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
        f"callers get {describe_failover(began)} since {format_time(since)} UTC:"
        f" version {began.champion.number} fails: {began.reason}"
        for began, since in ledger.fallbacks.values()
    ]


def _drilled(ledger: Ledger) -> tuple[list[str], list[str]]:
    """What the latest drill of the fallback has found: what is wrong, and what is worth knowing."""
    if ledger.drilled is None:
        return [], []
    found, at = ledger.drilled
    said = f"{describe_event(found)} ({format_time(at)} UTC)"
    return ([said], []) if found.problem else ([], [said])


def _overdue(ledger: Ledger, ports: Ports) -> list[str]:
    """Whether the open rollout has not been looked at for longer than its policy says."""
    rollout = ledger.rollout
    if rollout is None or rollout.ending or rollout.opened.kind != RolloutKind.PROMOTION:
        return []
    try:
        every = gate_evaluation_interval(rollout, parse_policy(rollout.opened.policy))
        late = ports.clock.now() - max(rollout.looked_at, rollout.entered_at)
    except (SurefootError, Violation, ValueError):  # a policy that this edition cannot read says nothing of looks
        return []
    if late <= MAX_MISSED_TICKS * every + FLOW_START_TIMEOUT_S:
        return []
    due = format_duration(every)
    return [f"the last look was {format_duration(late)} ago, and one is due every {due}: nothing is judged meanwhile"]
