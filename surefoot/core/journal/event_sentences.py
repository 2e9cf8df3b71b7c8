"""Describe journal events, and the effects that they record, in one sentence each."""

from typing import assert_never

from surefoot.core.approvals.approval_events import ApprovalEvent, describe_approval
from surefoot.core.assignment import describe_candidate_share
from surefoot.core.domain import FailoverLevel, RolloutKind, Stage
from surefoot.core.drills.drill_events import DrillEvent, DrillFinished, describe_drill
from surefoot.core.drills.live_drill_events import LiveDrillBegan, LiveDrillEnded
from surefoot.core.erasure.erasure_events import ErasureEvent, describe_erasure
from surefoot.core.incidents.incident_events import IncidentEvent
from surefoot.core.incidents.incident_sentences import describe_incident_event
from surefoot.core.journal.bundled_files import SetConfig
from surefoot.core.journal.events import (
    CandidateRefused,
    ChampionAdopted,
    DriftFound,
    DriftResolved,
    Effect,
    EffectDone,
    EffectIntended,
    EffectRefused,
    EndDecided,
    Event,
    GateJudged,
    Paused,
    RolloutEnded,
    RolloutOpened,
    SetSplit,
    StageEntered,
)
from surefoot.core.journal.fallback_events import FallbackBegan, FallbackDrilled, FallbackEvent
from surefoot.core.journal.served_version_events import (
    CorrectionsWritten,
    ExposureListed,
    RollbackTargetChanged,
    ServiceCounted,
    VersionReleased,
)
from surefoot.core.journal.watch_events import ChampionJudged, ChampionWatched, IncidentOpened
from surefoot.core.registry_drift.drift_events import DriftReactionChosen, describe_reaction
from surefoot.core.serving_engines.engine_choice import EngineChosen
from surefoot.core.stages.hold_events import FreezeEvent, HoldEvent, describe_hold
from surefoot.core.tables.data_events import (
    DataCheckpointed,
    DataCheckpointRefused,
    DataCheckpointRequested,
    DataEvent,
    DataLeft,
    DataProved,
    DataRestored,
    DataRestoreRefused,
    DataRestoreRequested,
    DataRestoreRetried,
)

_WatchEvent = ChampionJudged | ChampionWatched | IncidentOpened
_ServiceEvent = (
    VersionReleased | RollbackTargetChanged | ServiceCounted | ExposureListed | CorrectionsWritten | DrillEvent
)


def describe_effect(change: Effect) -> str:
    """What a change of the outside world is."""
    if isinstance(change, SetSplit):
        if change.candidate is not None and change.mirror:
            asked = f"version {change.candidate.number} is asked {change.mirror:g} % of the requests as well"
            return f"version {change.champion.number} answers everything, and {asked}"
        if change.candidate is None or not change.weight:
            return f"version {change.champion.number} answers everything"
        share = describe_candidate_share(change.weight, change.units)
        return f"version {change.candidate.number} answers {share} of the units"
    if isinstance(change, SetConfig):
        holds = f"holds {change.content[:19]}" if change.content else "is removed"
        return f"configuration {change.name} {holds}: {change.file}"
    if change.number is None:
        return f"alias {change.alias} is removed"
    return f"alias {change.alias} points to version {change.number}"


def describe_rollout(opened: RolloutOpened, *, short: bool = False) -> str:
    """What a rollout does: the version that it promotes, or the version that it takes back and the one it goes back to.

    Args:
        opened: The event that opened it.
        short: Leave out the word "version", for names of runs.
    """
    if opened.kind != RolloutKind.ROLLBACK:
        return f"{opened.kind} of version {opened.candidate.number}"
    word = "" if short else "version "
    return f"rollback of {word}{opened.champion.number} to {word}{opened.candidate.number}"


def _describe_data(event: DataEvent) -> str:
    """What happened to a table of the data layer, as one line for a person."""
    match event:
        case DataCheckpointRequested():
            return f"about to checkpoint table {event.name}"
        case DataCheckpointed():
            proof = ", restored into a scratch copy and read back" if event.proved else ""
            content = event.checkpoint.content
            return f"table {event.name} checkpointed: {content.rows} rows, digest {content.digest[:19]}{proof}"
        case DataCheckpointRefused():
            return f"table {event.name} not checkpointed: {event.reason}"
        case DataRestoreRequested():
            return f"about to restore table {event.name} to the checkpoint of entry {event.checkpoint}"
        case DataRestored():
            found = ": nothing was to be undone" if event.already else f", digest {event.before[:19]} before"
            return f"table {event.name} holds its checkpoint again, digest {event.after[:19]}{found}"
        case DataRestoreRefused():
            return f"table {event.name} not restored: {event.reason}"
        case DataRestoreRetried():
            return f"table {event.name} is to be restored after all: {event.reason}"
        case DataLeft():
            return f"table {event.name} stays as it is ({event.on_rollback} on rollback): {event.reason}"
        case DataProved():
            done = event.problem or "it was restored into a scratch copy and read back"
            return f"checkpoint {event.checkpoint} of table {event.name} tried: {done}"
        case _:
            assert_never(event)


def describe_event(event: Event) -> str:
    """What happened, as one line for a person."""
    match event:
        case ChampionAdopted():
            return f"found version {event.champion.number} as the champion"
        case RolloutOpened():
            against = "" if event.kind == RolloutKind.ROLLBACK else f" against champion {event.champion.number}"
            over = "".join(f"; version {number} is passed over: it is quarantined" for number in event.passed_over)
            ticket = f"; ticket {event.ticket}" if event.ticket else ""
            return f"{describe_rollout(event)} opened{against}: {event.reason}{ticket}{over}"
        case StageEntered():
            step = f" step {event.step + 1}" if event.stage is Stage.RAMPING else ""
            return f"entered {event.stage}{step}: {event.reason}"
        case GateJudged():
            return f"{event.verdict.gate} {event.verdict.outcome}: {event.verdict.reason}"
        case EffectIntended():
            return f"about to: {describe_effect(event.effect)}"
        case EffectDone():
            found = ", found already done" if event.reconciled else ""
            return f"done in {event.took_ms:.0f} ms{found}"
        case EffectRefused():
            return f"not done: {event.reason}"
        case Paused():
            return f"paused, {event.gate} is {event.outcome}: {event.reason}"
        case EndDecided():
            return f"will end as {event.terminal_stage}: {event.reason}"
        case RolloutEnded():
            return f"ended as {event.terminal_stage}: {event.reason}"
        case DriftFound() | DriftResolved() | DriftReactionChosen():
            return _describe_drift(event)
        case CandidateRefused():
            return f"version {event.number} is not taken, though {event.source} asks for it: {event.reason}"
        case EngineChosen():
            return f"engine '{event.engine}' serves from now on, as the policy says; before it was '{event.before}'"
        case _:
            return _describe_other(event)


def _describe_drift(event: DriftFound | DriftResolved | DriftReactionChosen) -> str:
    """Where the outside world differs from the journal, and what is done about it, as one line for a person."""
    if isinstance(event, DriftFound):
        return f"drift, {event.what} should be {event.expected}: {event.seen}"
    if isinstance(event, DriftResolved):
        return f"{event.what} is as it should be again: {event.how}"
    return describe_reaction(event)


def _describe_fallback(event: FallbackEvent) -> str:
    """When callers got fallback answers, as one line for a person."""
    if isinstance(event, FallbackDrilled):
        result = event.problem or "each answer will do"
        return f"fallback {event.display_name} was asked {event.rows:,} logged rows: {result}"
    number = event.champion.number
    if isinstance(event, FallbackBegan):
        return f"callers get {describe_failover(event)}: version {number} fails ({event.reason})"
    if event.rung is FailoverLevel.PROVEN_GOOD:
        return f"version {number} answers again: no other version answers for it any more"
    return f"version {number} answers again: callers get no fallback answers any more"


def describe_failover(event: FallbackBegan) -> str:
    """What callers get instead of the champion's answers."""
    if event.standby is not None:
        return f"answers of proven-good version {event.standby.number}"
    return f"the policy's {event.kind}" + (f" {event.source.uri}" if event.source is not None else "")


def _describe_other(
    event: DataEvent
    | _WatchEvent
    | _ServiceEvent
    | FallbackEvent
    | IncidentEvent
    | ApprovalEvent
    | FreezeEvent
    | HoldEvent
    | ErasureEvent,
) -> str:
    """What happened beside the rollouts, or what people decided, as one line for a person."""
    if isinstance(event, ApprovalEvent):
        return describe_approval(event)
    if isinstance(event, FreezeEvent | HoldEvent):
        return describe_hold(event)
    if isinstance(event, ErasureEvent):
        return describe_erasure(event)
    if isinstance(event, IncidentEvent):
        return describe_incident_event(event)
    if isinstance(event, FallbackEvent):
        return _describe_fallback(event)
    if isinstance(event, DataEvent):
        return _describe_data(event)
    return _describe_watch_event(event) if isinstance(event, _WatchEvent) else _describe_service_event(event)


def _describe_watch_event(event: _WatchEvent) -> str:
    """What a look at a champion has found, as one line for a person."""
    match event:
        case ChampionJudged():
            against = f"version {event.champion.number} beside version {event.against.number}"
            return f"{against}, {event.verdict.gate} {event.verdict.outcome}: {event.verdict.reason}"
        case ChampionWatched():
            return f"version {event.champion.number} was watched: {_watched(event)}"
        case IncidentOpened():
            return f"incident {event.incident} of version {(event.subject or event.champion).number}: {event.reason}"
        case _:
            assert_never(event)


def _describe_service_event(event: _ServiceEvent) -> str:
    """What happened to a version that served, as one line for a person."""
    match event:
        case DrillFinished():
            return describe_drill(event)
        case LiveDrillBegan():
            share = describe_candidate_share(event.weight, event.units)
            return f"live drill {event.drill}: version {event.champion.number} is to be its own candidate for {share}"
        case LiveDrillEnded():
            return f"live drill {event.drill} {'is over' if event.completed else 'was stopped'}: {event.reason}"
        case VersionReleased():
            how = " by --force" if event.forced else ""
            return f"the quarantine of version {event.version.number} was lifted{how}: {event.reason}"
        case RollbackTargetChanged():
            return (
                f"traffic cannot go back to version {event.unfit.number} ({event.reason}): it goes to version"
                f" {event.target.number}, the next proven-good one"
            )
        case ServiceCounted():
            counts = ", ".join(f"version {one.number}: {one.requests:,}" for one in event.versions)
            return f"requests answered since the last count: {counts or 'none'}"
        case ExposureListed():
            return f"listed {event.requests:,} answers of version {event.number}{_details(event)}: {event.file}"
        case CorrectionsWritten():
            return (
                f"{event.corrected:,} of {event.rows:,} answers of version {event.number} have a corrected answer of"
                f" version {event.by}, {event.changed:,} of them another one: {event.file}"
            )
        case _:
            assert_never(event)


def _watched(event: ChampionWatched) -> str:
    """What a look at a champion has found."""
    said = [*event.alarms, *(f"early: {one}" for one in event.early)]
    unread = f"; too little is known of {', '.join(event.unread)}" if event.unread else ""
    return ("; ".join(said) or "as in its past") + unread


def _details(event: ExposureListed) -> str:
    """Units, phases and what is not known of a list, in words."""
    units = [] if event.units is None else [f"{event.units:,} unit{'' if event.units == 1 else 's'}"]
    phases = [f"{phase} {count:,}" for phase, count in event.phases.items()]
    said = ", ".join([*units, *phases])
    return f" ({said})" if said else ""
