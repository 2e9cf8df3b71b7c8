"""Fold the journal entries of a model into its current state, the class `Ledger`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import assert_never

from surefoot.core.domain import PROMOTED_STAGES, FailoverLevel, RolloutKind, Split, Stage, Version
from surefoot.core.drills.drill_events import DrillEvent, DrillFinished
from surefoot.core.drills.drill_state import DrillState
from surefoot.core.drills.live_drill_events import LiveDrillBegan, LiveDrillEnded
from surefoot.core.fallback import FallbackVersion
from surefoot.core.incidents.incident_fold import fold_incidents
from surefoot.core.incidents.incident_state import IncidentState
from surefoot.core.journal.answering_versions import may_have_answered
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import (
    LIVE_SPLIT_DRIFT_NAME,
    CandidateRefused,
    ChampionAdopted,
    DriftFound,
    DriftResolved,
    Effect,
    EffectDone,
    EffectIntended,
    EffectRefused,
    RolloutEnded,
    RolloutOpened,
    SetAlias,
    SetSplit,
    decode_event,
)
from surefoot.core.journal.fallback_events import FallbackBegan, FallbackDrilled, FallbackEnded, FallbackEvent
from surefoot.core.journal.served_version_events import (
    ExposureListed,
    ServiceCounted,
    VersionReleased,
)
from surefoot.core.journal.watch_events import ChampionJudged, ChampionWatched, IncidentOpened
from surefoot.core.journal.watch_state import WatchState
from surefoot.core.registry_drift.drift_state import DriftState
from surefoot.core.served_versions.quarantine import Quarantine
from surefoot.core.serving_engines.engine_choice import EngineChoice, EngineChosen
from surefoot.core.stages.freeze_state import FreezeState
from surefoot.core.stages.hold_events import FreezeBegan, FreezeEnded
from surefoot.core.stages.rollout_state import Rollout, RolloutEvent
from surefoot.core.tables.data_events import DataEvent
from surefoot.core.tables.data_state import DataState, fold_data_event
from surefoot.core.tables.tables_to_restore import table_state_after_rollout_end

__all__ = ["Ledger", "Rollout", "derive_split_from_effect", "fold_entries"]

_TURNED_AWAY = frozenset({Stage.REJECTED, Stage.ABORTED, Stage.ROLLED_BACK})
"""Ends of a promotion that quarantine the candidate."""
_ServiceEvent = VersionReleased | ServiceCounted | ExposureListed | FallbackEvent | DrillEvent


@dataclass(frozen=True, slots=True)
class Ledger:
    """All that the journal says of one model.

    Attributes:
        model: Registered model.
        head: Sequence of the last entry; 0 before the first.
        now: Time of the last entry [Unix seconds].
        champion: The version that should be served, or None before one was adopted.
        proven: Proven-good versions, oldest first; the last one other than the champion is the rollback target.
        split: The last split that was acknowledged.
        intent: Sequence and effect that were intended and not yet done.
        rollouts: Every rollout by id, in order of opening.
        open: Id of the open rollout; empty when none is.
        drifts: What disagrees with the journal and has not been resolved, by what it is.
        drift: Reactions to such differences, and those that have no incident yet.
        refusals: The last refusal of each version that the registry asked for, by number, since its last rollout.
        watch: What is known of the champion after its bake.
        quarantined: Versions that are not promoted again until a person releases them, by digest.
        uncounted: Rollouts that have ended since the versions' requests were counted last.
        ended_at: When the last rollout ended [Unix seconds].
        counted: The last count of what versions have answered.
        unlisted: Rollouts that have taken a version back whose answers have not been listed yet.
        data: Checkpoints of the model's tables, and what a rollback has still to do with them.
        drills: Rehearsed rollbacks.
        drilled: The latest check of the fallback, and when it was [Unix seconds]; None before the first.
        incidents: Incidents, and rollouts that need one.
        fallback: The version that was last found to be usable as fallback; None where the fallback is no version.
        fallbacks: Why callers get answers of another rung, and when the first was journalled [Unix seconds], by rung.
        engine: The engine that serves the model; the gateway in journals that name none.
        freezes: What holds rollouts in place.
    """

    model: str
    head: int = 0
    now: float = 0.0
    champion: Version | None = None
    proven: tuple[Version, ...] = ()
    split: Split | None = None
    intent: tuple[int, Effect] | None = None
    rollouts: Mapping[str, Rollout] = field(default_factory=dict)
    open: str = ""
    drifts: Mapping[str, DriftFound] = field(default_factory=dict)
    drift: DriftState = field(default_factory=DriftState)
    refusals: Mapping[str, CandidateRefused] = field(default_factory=dict)
    watch: WatchState = field(default_factory=WatchState)
    quarantined: Mapping[str, Quarantine] = field(default_factory=dict)
    uncounted: tuple[str, ...] = ()
    ended_at: float = 0.0
    counted: ServiceCounted | None = None
    unlisted: tuple[str, ...] = ()
    data: DataState = field(default_factory=DataState)
    fallbacks: Mapping[FailoverLevel, tuple[FallbackBegan, float]] = field(default_factory=dict)
    drills: DrillState = field(default_factory=DrillState)
    drilled: tuple[FallbackDrilled, float] | None = None
    incidents: IncidentState = field(default_factory=IncidentState)
    fallback: FallbackVersion | None = None
    engine: EngineChoice = field(default_factory=EngineChoice)
    freezes: FreezeState = field(default_factory=FreezeState)

    @property
    def rollout(self) -> Rollout | None:
        """The open rollout."""
        return self.rollouts.get(self.open)

    def attempts(self, version: Version) -> tuple[Rollout, ...]:
        """Earlier promotions of the same bytes, oldest first."""
        promotions = (item for item in self.rollouts.values() if item.opened.kind == RolloutKind.PROMOTION)
        return tuple(item for item in promotions if item.opened.candidate.digest == version.digest)

    def rollback_of(self, digest: str) -> Rollout | None:
        """The rollback that took these bytes back after their last promotion; None when none has."""
        for item in reversed(tuple(self.rollouts.values())):
            if item.opened.kind == RolloutKind.PROMOTION and item.opened.candidate.digest == digest:
                return None
            if item.stage is Stage.FAST_ROLLED_BACK and item.opened.champion.digest == digest:
                return item
        return None

    def target(self) -> Version | None:
        """The last proven-good version that is not the champion and not quarantined."""
        return self._last_fit({self.champion.digest} if self.champion else set())

    def next_target(self, rollout: Rollout, unfit: Iterable[str] = ()) -> Version | None:
        """The last proven-good version that an ending rollout can go back to when its own target is unfit.

        Args:
            rollout: The rollout.
            unfit: Digests of further versions that are unfit.
        """
        both = (rollout.opened.champion, rollout.opened.candidate, rollout.rollback_target)
        return self._last_fit({version.digest for version in both} | {*rollout.unfit, *unfit})

    def _last_fit(self, unfit: set[str]) -> Version | None:
        return next((v for v in reversed(self.proven) if v.digest not in {*unfit, *self.quarantined}), None)

    def skipped_targets(self, target: Version) -> tuple[str, ...]:
        """Numbers of the proven-good versions after a target that are quarantined, latest first."""
        later = takewhile(lambda version: version.digest != target.digest, reversed(self.proven))
        return tuple(version.number for version in later if version.digest in self.quarantined)


_TIMED_BY_SPLIT = {Stage.LIVE_SHADOWING, Stage.RAMPING}
"""Stages that last from when their split is live."""


def _prove(proven: tuple[Version, ...], version: Version) -> tuple[Version, ...]:
    return (*(item for item in proven if item.digest != version.digest), version)


def derive_split_from_effect(ledger: Ledger, seq: int, effect: SetSplit) -> Split:
    """The full split that an effect asks for; the intent's sequence is its generation."""
    rollout = ledger.rollout
    named = (rollout.opened.salt, rollout.opened.rollout) if rollout else ledger.drills.split_names(effect.candidate)
    return Split(effect.champion, effect.candidate, effect.weight, *named, seq, effect.mirror, effect.units)


def _apply_entry(ledger: Ledger, entry: Entry) -> Ledger:
    """The ledger after one more entry."""
    event = decode_event(entry.kind, entry.data)
    rollout, applied = ledger.rollout, () if ledger.intent is None else (ledger.intent[1],)
    effects = (*rollout.done, *rollout.refused, *applied) if rollout else applied
    incidents = fold_incidents(ledger.incidents, event, entry, rollout.opened if rollout else None, effects)
    drift = ledger.drift.after_event(event, entry.at, incidents)
    ledger = replace(ledger, head=entry.seq, now=entry.at, incidents=incidents, drift=drift)
    match event:
        case ChampionAdopted():
            return replace(ledger, champion=event.champion, proven=_prove(ledger.proven, event.champion))
        case EngineChosen():  # no split is in force there yet
            return replace(ledger, engine=event.choice, split=None)
        case RolloutOpened():
            opened = Rollout(event, entry.at, entered_at=entry.at, reason=event.reason)
            rollouts = {**ledger.rollouts, event.rollout: opened}
            refusals = {n: one for n, one in ledger.refusals.items() if n != event.candidate.number}
            drills = ledger.drills.without_live_drill()  # its route is replaced by one of the rollout
            return replace(ledger, open=event.rollout, rollouts=rollouts, refusals=refusals, drills=drills)
        case EffectIntended():
            return replace(ledger, intent=(entry.seq, event.effect))
        case EffectDone() | EffectRefused():
            return _settled(ledger, event, entry.at)
        case CandidateRefused():
            return replace(ledger, refusals={**ledger.refusals, event.number: event})
        case ChampionJudged() | ChampionWatched() | IncidentOpened():
            return replace(ledger, watch=ledger.watch.after_event(event, entry.at))
        case DriftResolved():
            return replace(ledger, drifts={what: one for what, one in ledger.drifts.items() if what != event.what})
        case DriftFound():
            ledger = replace(ledger, drifts={**ledger.drifts, event.what: event})
            # Surefoot's own change that could not be made yet is no sign of another hand.
            theirs = event.rollout and event.rollout == ledger.open and not event.repeat
            return _within(ledger, ledger.rollout, event, entry.at) if ledger.rollout and theirs else ledger
        case _ if isinstance(event, _ServiceEvent):
            return _after_service_event(ledger, event, entry.at)
        case RolloutEnded() if ledger.rollout:
            ended = ledger.rollout
            ledger = _ended(ledger, ended, event, entry.at)
            earlier = tuple(ledger.rollouts.values())
            return replace(
                ledger, data=table_state_after_rollout_end(ledger.data, earlier, ended, event.terminal_stage)
            )
        case FreezeBegan() | FreezeEnded():
            return replace(ledger, freezes=ledger.freezes.after_event(event))
        case _ if isinstance(event, RolloutEvent) and ledger.rollout:
            return _within(ledger, ledger.rollout, event, entry.at)
        case _ if isinstance(event, DataEvent):
            return replace(ledger, data=fold_data_event(ledger.data, event, entry.seq, entry.at))
        case _:
            return ledger


def _after_service_event(ledger: Ledger, event: _ServiceEvent, at: float) -> Ledger:
    """The ledger after an event about a version that served, or failed to."""
    match event:
        case VersionReleased():
            held = {digest: one for digest, one in ledger.quarantined.items() if digest != event.version.digest}
            return replace(ledger, quarantined=held, refusals={})
        case ServiceCounted():
            return replace(ledger, counted=event, uncounted=())
        case DrillFinished():  # what was refused for want of a drill is looked at again
            return replace(ledger, drills=ledger.drills.after_drill(event, at), refusals={})
        case LiveDrillBegan() | LiveDrillEnded():
            return replace(ledger, drills=ledger.drills.after_drill(event, at))
        case FallbackDrilled():
            return replace(ledger, drilled=(event, at), fallback=event.usable_version(ledger.fallback))
        case FallbackBegan():
            return replace(ledger, fallbacks={**ledger.fallbacks, event.rung: (event, at)})
        case FallbackEnded():
            left = {rung: one for rung, one in ledger.fallbacks.items() if rung != event.rung}
            return replace(ledger, fallbacks=left)
        case ExposureListed():
            return replace(ledger, unlisted=tuple(one for one in ledger.unlisted if one != event.rollout))
        case _:
            assert_never(event)


def _within(ledger: Ledger, rollout: Rollout, event: RolloutEvent, at: float) -> Ledger:
    """The ledger after an event of the open rollout."""
    return replace(ledger, rollouts={**ledger.rollouts, rollout.opened.rollout: rollout.after_event(event, at)})


def _ended(ledger: Ledger, rollout: Rollout, event: RolloutEnded, at: float) -> Ledger:
    """The ledger after the end of the open rollout."""
    stage, opened, proven = event.terminal_stage, rollout.opened, ledger.proven
    changed = replace(rollout, stage=stage, reason=event.reason, paused=None)
    # The traffic has ended there, even when the alias was somebody else's to move.
    served, bad = rollout.rollback_target, None
    if stage in PROMOTED_STAGES:
        served, proven = opened.candidate, _prove(proven, opened.candidate)
    elif opened.kind == RolloutKind.ROLLBACK and stage is not Stage.FAST_ROLLED_BACK:
        served = opened.champion  # it could not go back
    elif stage is Stage.FAST_ROLLED_BACK:
        # A version that was taken back after its bake is no target any more.
        bad = opened.champion
        proven = _prove(tuple(v for v in proven if v.digest != bad.digest), served)
    elif stage in _TURNED_AWAY:
        bad = opened.candidate
    held = {digest: one for digest, one in ledger.quarantined.items() if digest != served.digest}
    if bad is not None:
        held[bad.digest] = Quarantine(bad, stage, event.reason, opened.rollout, at)
    exposed = bad is not None and (
        stage is Stage.FAST_ROLLED_BACK or may_have_answered((*rollout.done, *rollout.refused), opened)
    )
    return replace(
        ledger,
        open="",
        champion=served,
        proven=proven,
        quarantined=held,
        rollouts={**ledger.rollouts, opened.rollout: changed},
        uncounted=(*ledger.uncounted, opened.rollout),
        ended_at=at,
        unlisted=(*ledger.unlisted, opened.rollout) if exposed else ledger.unlisted,
    )


def _settled(ledger: Ledger, event: EffectDone | EffectRefused, at: float) -> Ledger:
    """The ledger after an intent was carried out or given up."""
    if ledger.intent is None or ledger.intent[0] != event.intent:
        return ledger
    seq, effect = ledger.intent
    ledger, rollout = replace(ledger, intent=None), ledger.rollout
    if isinstance(event, EffectRefused):
        if rollout is None or (isinstance(effect, SetSplit) and effect.is_live_drill):
            return ledger
        reason = rollout.reason if rollout.ending else event.reason  # why it ends matters more than what that meets
        refused, unfit = (*rollout.refused, effect), (*rollout.unfit, *event.unfit)
        changed = replace(rollout, refused=refused, reason=reason, unfit=unfit)
        return replace(ledger, rollouts={**ledger.rollouts, ledger.open: changed})
    if isinstance(effect, SetSplit):
        # The split was read back after the change: what the gateway served before is no drift any more.
        drifts = {what: drift for what, drift in ledger.drifts.items() if what != LIVE_SPLIT_DRIFT_NAME}
        ledger = replace(ledger, split=derive_split_from_effect(ledger, seq, effect), drifts=drifts)
    if isinstance(effect, SetAlias):  # it was read back as well
        what = f"alias {effect.alias}"
        drifts = {name: drift for name, drift in ledger.drifts.items() if name != what}
        ledger = replace(ledger, drifts=drifts, drift=ledger.drift.without(what))
    if rollout is None:
        return ledger
    if isinstance(effect, SetAlias) and effect.alias == "champion":
        both = (rollout.opened.champion, rollout.opened.candidate, rollout.rollback_target)
        ledger = replace(ledger, champion=next((v for v in both if v.number == effect.number), ledger.champion))
    changed = replace(rollout, done=(*rollout.done, effect))
    if isinstance(effect, SetSplit) and rollout.stage in _TIMED_BY_SPLIT and rollout.ending is None:
        # A step lasts from when its weight is live: what loading a version took is no time in which it was seen.
        changed = replace(changed, entered_at=at)
    return replace(ledger, rollouts={**ledger.rollouts, ledger.open: changed})


def fold_entries(model: str, entries: Iterable[Entry], start: Ledger | None = None) -> Ledger:
    """The ledger that a sequence of entries leads to.

    Law: fold(a + b) == fold(b, start=fold(a)).
    """
    ledger = start or Ledger(model)
    for entry in entries:
        ledger = _apply_entry(ledger, entry)
    return ledger
