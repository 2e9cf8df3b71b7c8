"""Run a live drill, which is a rehearsed rollback in production."""

import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from surefoot import wiring
from surefoot.adapters.traffic.gateway import GatewayTraffic
from surefoot.core.domain import Split
from surefoot.core.drills.drill_events import DrillFinished
from surefoot.core.drills.live_drill_events import LiveDrillBegan, LiveDrillEnded, LiveDrillResult
from surefoot.core.drills.live_drill_limits import LiveDrillCounts, find_live_drill_breach
from surefoot.core.errors import (
    Conflict,
    GatewayUnavailable,
    OutcomeUnknown,
    Rejected,
    RouteSuperseded,
    SurefootError,
    Unavailable,
)
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.event_sentences import describe_rollout
from surefoot.core.journal.events import EffectDone, EffectIntended, RolloutOpened, SetSplit, decode_event
from surefoot.core.journal.ledger import Ledger
from surefoot.drills.live.compared_answers import ComparedAnswers, compare_drill_answers
from surefoot.rollout import (
    Ports,
    begin_live_drill,
    describe_split_mismatch,
    find_live_drill_problem,
    record_drill,
    retry_on_conflict,
    take_back_live_drill,
)
from surefoot.settings import Settings

CHECK_INTERVAL_S = 1.0
"""Time between two looks at the guardrails [seconds]."""
_MAX_SILENCE_S = 5.0
"""Time without an answer of the gateway or the journal after which a drill is stopped [seconds]."""
MAX_RESTORE_MS = 1000.0
"""Longest time until the champion alone answers in every worker [milliseconds]."""
_PATIENCE_S = 60.0
"""How long taking back is tried again while the gateway or the journal does not answer [seconds]."""
_JOURNALLED_S = 5.0
"""How long after another route is in force the journal may take to say who has set it [seconds]."""
_FINAL_READINGS = 20
"""How often the counts are read at the end until every worker has told its own [count]."""
_INTERRUPTED = "the command that ran it was interrupted"
_Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LiveDrillParameters:
    """Share of traffic, units and duration of a live drill, as ordered.

    Attributes:
        weight: Share of the units in the candidate's arm [percent].
        units: Units that are in it whatever their hash.
        span: How long [seconds].
    """

    weight: float
    units: tuple[str, ...]
    span: float


@dataclass(frozen=True, slots=True)
class LiveDrillOutcome:
    """How a live drill has ended.

    Attributes:
        began: The drill.
        reason: Why it ended.
        by: Who has ended it: the actor of the entry that says so.
        result: What it has shown; None where a person or a rollout has ended it before its time.
        counts: What the gateway counted meanwhile.
        answers: What the comparison has found; None where nothing was compared.
        completed: Whether its time was over, and nothing has stopped it.
        standby: Version that a rollback would go to, and whether it was loaded; None where there is none.
    """

    began: LiveDrillBegan
    reason: str
    by: str
    result: LiveDrillResult | None
    counts: LiveDrillCounts
    answers: ComparedAnswers | None
    completed: bool
    standby: tuple[str, bool] | None


@dataclass(frozen=True, slots=True)
class _Stop:
    """Why a drill ends.

    Attributes:
        reason: Why.
        breach: Whether a guardrail has stopped it, so that it has failed.
        by: Who else has ended it, so that it has shown nothing; empty where it came to its end or has failed.
        taken_back: Whether the traffic was taken back already, or another rollout has it.
    """

    reason: str
    breach: bool = False
    by: str = ""
    taken_back: bool = False


def run_live_drill(
    config: Settings, model: str, order: LiveDrillParameters, actor: str, tell: _Tell
) -> LiveDrillOutcome:
    """Run a live drill to its end; whatever happens, the traffic is taken back.

    Args:
        config: Where everything is.
        model: Registered model.
        order: What is asked for.
        actor: Who asks.
        tell: Is told how far it has come.

    Raises:
        Rejected: It cannot begin; one line says why.
        SurefootError: The journal or the gateway does not answer; `reconcile` takes the traffic back.
    """
    began_at = time.monotonic()
    with wiring.open_ports(config, actor) as ports, wiring.open_gateway_traffic(config) as engine:
        ledger = _checked(ports, engine, model)
        head, champion = ledger.head, ledger.champion
        if champion is None:
            raise Rejected(f"{model} has no champion: there is nothing to rehearse")
        standby = engine.standby(model)
        before = _read_counts(engine, model)
        drill = LiveDrillBegan(
            secrets.token_hex(6), champion, order.weight, order.units, ports.clock.now() + order.span
        )
        try:
            tell(f"version {champion.number} becomes its own candidate")
            ledger = begin_live_drill(ports, ledger, drill)
            stop = _watch(ports, engine, ledger, drill, before, tell)
        except BaseException:
            _take_back(ports, model, drill, _INTERRUPTED, completed=False)
            raise
        if not stop.taken_back:
            tell("traffic is taken back")
            _take_back(ports, model, drill, stop.reason, completed=not stop.breach and not stop.by)
            stop = _ended_by_other(ports.journal.read(model, after=head), drill, actor) or stop
        counts = _final_counts(engine, model, before)
        if stop.by:
            return LiveDrillOutcome(drill, stop.reason, stop.by, None, counts, None, False, standby)
        shift, restore = _times(ports.journal.read(model, after=head))
        tell("the champion is asked the same rows again")
        generation = ledger.split.generation if ledger.split else 0
        answers, trouble = _compared(config, model, drill, generation)
        result = LiveDrillResult(
            requests=counts.candidate_requests,
            caller_errors=counts.caller_errors,
            shift_ms=shift,
            restore_ms=restore,
            compared=answers.compared if answers else 0,
            differed=answers.differed if answers else 0,
        )
        problem = (stop.reason if stop.breach else "") or find_live_drill_breach(counts) or trouble
        result = replace(result, problem=problem or _problem(result, answers, standby))
        took = round(time.monotonic() - began_at, 1)
        record_drill(
            ports, model, DrillFinished(drill.drill, "live", champion, ledger.target(), (), 0, took, live=result)
        )
        return LiveDrillOutcome(drill, stop.reason, actor, result, counts, answers, not stop.breach, standby)


def _checked(ports: Ports, engine: GatewayTraffic, model: str) -> Ledger:
    """The ledger of a model of which a live drill may begin.

    Raises:
        Rejected: One line says why it may not.
    """
    ledger = ports.ledger(model)
    if problem := find_live_drill_problem(ledger):
        raise Rejected(problem)
    if killed := engine.kill_switch_reason():
        raise Rejected(f"the kill switch is set ({killed}): 'surefoot kill --lift' comes before a live drill")
    if mismatch := describe_split_mismatch(ledger, ports.traffic.live(model)):
        raise Rejected(f"{mismatch}: a live drill waits until they agree, 'surefoot status' says why they do not")
    if ledger.fallbacks:
        why = next(iter(ledger.fallbacks.values()))[0].reason
        raise Rejected(
            f"callers of {model} get fallback answers ({why}): a live drill waits until the champion answers"
        )
    return ledger


def _watch(
    ports: Ports, engine: GatewayTraffic, ledger: Ledger, drill: LiveDrillBegan, before: LiveDrillCounts, tell: _Tell
) -> _Stop:
    """Look at every guardrail each second until one stops the drill, or its time is over."""
    model, expected, head = ledger.model, ledger.split, ledger.head
    answered_at = time.monotonic()
    while True:
        try:
            if (ended := _ended_by_other(ports.journal.read(model, after=head), drill, "")) is not None:
                return ended
            if reason := _route_problem(ports.traffic.live(model), expected):
                if killed := engine.kill_switch_reason():
                    return _Stop(f"it is set ({killed})", by="the kill switch")
                return _await_end_by_other(ports, model, head, drill) or _Stop(reason, breach=True)
            counts = _read_counts(engine, model).since(before)
            if not counts.is_whole:
                raise GatewayUnavailable("a worker of the gateway has started again, or does not tell its counts")
            answered_at = time.monotonic()
        except (Unavailable, OutcomeUnknown) as error:
            if time.monotonic() - answered_at > _MAX_SILENCE_S:
                return _Stop(f"no answer for {_MAX_SILENCE_S:.0f} s: {error}", breach=True)
            counts = LiveDrillCounts()
        if reason := find_live_drill_breach(counts):
            return _Stop(reason, breach=True)
        left = drill.until - ports.clock.now()
        if left <= 0.0:
            return _Stop("its time is over")
        tell(
            f"{counts.candidate_requests:,} of {counts.requests:,} requests in the candidate's arm:"
            f" {counts.late:,} late, {counts.candidate_errors:,} failed; {left:.0f} s left"
        )
        time.sleep(min(CHECK_INTERVAL_S, left))


def _await_end_by_other(ports: Ports, model: str, head: int, drill: LiveDrillBegan) -> _Stop | None:
    """Who has ended the drill by another route: the route changes first, and the journal says it a moment later."""
    deadline = time.monotonic() + _JOURNALLED_S
    while (ended := _ended_by_other(ports.journal.read(model, after=head), drill, "")) is None:
        if time.monotonic() > deadline:
            return None
        time.sleep(CHECK_INTERVAL_S / 4.0)
    return ended


def _route_problem(live: Split | None, expected: Split | None) -> str:
    """Why the gateway does not serve the drill's route any more; empty where it does.

    Raises:
        GatewayUnavailable: It serves no version just now, as a worker that was started a moment ago.
    """
    if live == expected:
        return ""
    if live is None:
        raise GatewayUnavailable("the gateway serves no version")
    if expected is not None and live.generation == expected.generation:
        return "the gateway has cut the candidate's arm"
    return f"another route is in force, of generation {live.generation}"


def _ended_by_other(entries: Sequence[Entry], drill: LiveDrillBegan, actor: str) -> _Stop | None:
    """Who else has ended the drill, as the journal says; None where none has.

    Args:
        entries: What was journalled since it began.
        drill: The drill.
        actor: Who runs it; an end by that actor is not of another, unless this is empty.
    """
    for entry in entries:
        event = decode_event(entry.kind, entry.data)
        if isinstance(event, LiveDrillEnded) and event.drill == drill.drill:
            return None if entry.actor == actor else _Stop(event.reason, by=entry.actor, taken_back=True)
        if isinstance(event, RolloutOpened):
            return _Stop(f"the {describe_rollout(event)} has begun", by=entry.actor, taken_back=True)
    return None


def _take_back(ports: Ports, model: str, drill: LiveDrillBegan, reason: str, *, completed: bool) -> None:
    """Take the traffic back, trying again while the gateway or the journal does not answer.

    Raises:
        SurefootError: They did not answer for long; `reconcile` takes it back.
    """

    def take_back() -> Ledger:
        ledger = ports.ledger(model)
        if ledger.drills.live is not None and ledger.drills.live.drill != drill.drill:
            return ledger
        return take_back_live_drill(ports, ledger, reason, completed=completed)

    since = time.monotonic()
    while True:
        try:
            retry_on_conflict(take_back)
        except RouteSuperseded:
            raise  # another route is in force that this journal does not know: it is not replaced blindly
        except (Unavailable, OutcomeUnknown, Conflict):
            if time.monotonic() - since > _PATIENCE_S:
                raise
            time.sleep(CHECK_INTERVAL_S / 4.0)
        else:
            return


def _read_counts(engine: GatewayTraffic, model: str) -> LiveDrillCounts:
    """The gateway's counts of a model.

    Raises:
        GatewayUnavailable: It does not answer, or is of a release that counts less.
    """
    try:
        return LiveDrillCounts.from_stats(engine.stats(model))
    except (KeyError, TypeError, ValueError) as error:
        raise GatewayUnavailable(f"the gateway does not tell the counts of {model}: it lacks {error}") from error


def _final_counts(engine: GatewayTraffic, model: str, before: LiveDrillCounts) -> LiveDrillCounts:
    """What was counted since the drill began; zeros where the gateway does not tell it."""
    for _ in range(_FINAL_READINGS):
        with contextlib.suppress(SurefootError):
            counts = _read_counts(engine, model).since(before)
            if counts.is_whole:
                return counts
        time.sleep(CHECK_INTERVAL_S / 4.0)
    return LiveDrillCounts()


def _times(entries: Sequence[Entry]) -> tuple[float | None, float | None]:
    """Milliseconds until the drill's route was in force, and until that of the champion alone was."""
    intents: dict[int, bool] = {}
    shift = restore = None
    for entry in entries:
        event = decode_event(entry.kind, entry.data)
        if isinstance(event, EffectIntended) and isinstance(event.effect, SetSplit):
            intents[entry.seq] = event.effect.is_live_drill
        elif isinstance(event, EffectDone) and event.intent in intents:
            shift, restore = (event.took_ms, restore) if intents[event.intent] else (shift, event.took_ms)
    return shift, restore


def _compared(
    config: Settings, model: str, drill: LiveDrillBegan, generation: int
) -> tuple[ComparedAnswers | None, str]:
    """The comparison, and what kept it from being made; no error may hide what the drill has shown."""
    try:
        return compare_drill_answers(config, model, drill, generation), ""
    except SurefootError as error:
        return None, f"the answers could not be compared: {error}"


def _problem(result: LiveDrillResult, answers: ComparedAnswers | None, standby: tuple[str, bool] | None) -> str:
    """What is wrong with a drill that no guardrail has stopped, in one sentence; empty where nothing is."""
    if not result.requests:
        return "no request came to the candidate's arm: a larger --weight or a longer --for shows something"
    if result.differed:
        return f"{result.differed:,} of {result.compared:,} answers differ from what the champion answers again"
    if not result.compared:
        why = next(iter(answers.why_unknown), "the log holds none") if answers else "the log holds none"
        return f"no answer could be compared: {why}"
    if result.restore_ms is None or result.restore_ms > MAX_RESTORE_MS:
        took = "no known time" if result.restore_ms is None else f"{result.restore_ms:.0f} ms"
        return f"the traffic was back after {took}; at most {MAX_RESTORE_MS:.0f} ms are accepted"
    if standby is not None and not standby[1]:
        return f"version {standby[0]}, which a rollback would go to, is not loaded"
    return ""
