"""Fold the journal's events of one model into its current state, the `Ledger`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from surefoot.core.domain import RolloutKind, Split, Stage, Verdict, Version
from surefoot.core.record.chain import Entry
from surefoot.core.record.events import (
    LIVE_SPLIT_DRIFT,
    CandidateRefused,
    ChampionAdopted,
    DriftFound,
    DriftResolved,
    Effect,
    EffectDone,
    EffectIntended,
    EffectRefused,
    EndDecided,
    GateJudged,
    Paused,
    RolloutEnded,
    RolloutOpened,
    SetAlias,
    SetSplit,
    StageEntered,
    decode_event,
)
from surefoot.core.record.watch_events import ChampionJudged, ChampionWatched, IncidentOpened


@dataclass(frozen=True, slots=True)
class Rollout:
    """One attempt, as far as the journal has come.

    Attributes:
        opened: The event that opened it.
        opened_at: When [Unix seconds].
        stage: Where it stands.
        step: Index into the policy's weights while ramping, otherwise 0.
        entered_at: When the stage was entered, or the step's weight or mirror was live [Unix seconds].
        look: Number of the look that `verdicts` belong to, counted within the step.
        looked_at: When that look's last verdict came [Unix seconds].
        asked_at: When that look was asked for [Unix seconds].
        verdicts: Answers of that look by gate.
        paused: Why it waits, or None.
        ending: The terminal stage that has been decided, or None.
        drifted: Whether the world was found changed by somebody else.
        done: Effects that were applied, in order.
        refused: Effects that could not be applied since the end was decided.
        reason: Why it stands where it stands.
    """

    opened: RolloutOpened
    opened_at: float
    stage: Stage = Stage.SUBMITTED
    step: int = 0
    entered_at: float = 0.0
    look: int = 0
    looked_at: float = 0.0
    asked_at: float = 0.0
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    paused: Paused | None = None
    ending: EndDecided | None = None
    drifted: bool = False
    done: tuple[Effect, ...] = ()
    refused: tuple[Effect, ...] = ()
    reason: str = ""


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
        refusals: The last refusal of each version that the registry asked for, by number, since its last rollout.
        watched_rollout: Promotion of the champion that was last looked at after its bake; empty without one.
        watched_at: When that was [Unix seconds].
        watched: What was found then; None before the first look.
        judged: The latest comparison with the proven-good version, by gate.
        incidents: When each incident was opened, by promotion and trigger [Unix seconds].
        retrain: When an incident last wanted a deployment started [Unix seconds], and which; None without one.
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
    refusals: Mapping[str, CandidateRefused] = field(default_factory=dict)
    watched_rollout: str = ""
    watched_at: float = 0.0
    watched: ChampionWatched | None = None
    judged: Mapping[str, ChampionJudged] = field(default_factory=dict)
    incidents: Mapping[tuple[str, str], float] = field(default_factory=dict)
    retrain: tuple[float, str] | None = None

    @property
    def rollout(self) -> Rollout | None:
        """The open rollout."""
        return self.rollouts.get(self.open)

    def attempts(self, version: Version) -> tuple[Rollout, ...]:
        """Earlier promotions of the same bytes, oldest first."""
        return tuple(
            item
            for item in self.rollouts.values()
            if item.opened.kind == RolloutKind.PROMOTION and item.opened.candidate.digest == version.digest
        )

    def taken_back(self, digest: str) -> Rollout | None:
        """The rollback that took these bytes back after their last promotion; None when none has."""
        for item in reversed(tuple(self.rollouts.values())):
            if item.opened.kind == RolloutKind.PROMOTION and item.opened.candidate.digest == digest:
                return None
            if item.stage is Stage.FAST_ROLLED_BACK and item.opened.champion.digest == digest:
                return item
        return None

    def target(self) -> Version | None:
        """The last proven-good version that is not the champion."""
        current = self.champion.digest if self.champion else ""
        return next((version for version in reversed(self.proven) if version.digest != current), None)


_TIMED_BY_SPLIT = {Stage.LIVE_SHADOWING, Stage.RAMPING}
"""Stages that last from when their split is live."""


def _prove(proven: tuple[Version, ...], version: Version) -> tuple[Version, ...]:
    return (*(item for item in proven if item.digest != version.digest), version)


def split_of_effect(ledger: Ledger, seq: int, effect: SetSplit) -> Split:
    """The full split that an effect asks for; the intent's sequence is its generation."""
    rollout = ledger.rollout
    return Split(
        effect.champion,
        effect.candidate,
        effect.weight,
        rollout.opened.salt if rollout else "",
        rollout.opened.rollout if rollout else "",
        seq,
        effect.mirror,
    )


def _apply_entry(ledger: Ledger, entry: Entry) -> Ledger:
    """The ledger after one more entry."""
    event = decode_event(entry.kind, entry.data)
    ledger = replace(ledger, head=entry.seq, now=entry.at)
    match event:
        case ChampionAdopted():
            return replace(ledger, champion=event.champion, proven=_prove(ledger.proven, event.champion))
        case RolloutOpened():
            opened = Rollout(event, entry.at, entered_at=entry.at, reason=event.reason)
            rollouts = {**ledger.rollouts, event.rollout: opened}
            refusals = {n: one for n, one in ledger.refusals.items() if n != event.candidate.number}
            return replace(ledger, open=event.rollout, rollouts=rollouts, refusals=refusals)
        case EffectIntended():
            return replace(ledger, intent=(entry.seq, event.effect))
        case EffectDone() | EffectRefused():
            return _settled(ledger, event, entry.at)
        case CandidateRefused():
            return replace(ledger, refusals={**ledger.refusals, event.number: event})
        case ChampionJudged():
            return replace(ledger, judged={**ledger.judged, event.verdict.gate: event})
        case ChampionWatched():
            judged = {name: one for name, one in ledger.judged.items() if one.rollout == event.rollout}
            return replace(ledger, watched_rollout=event.rollout, watched_at=entry.at, watched=event, judged=judged)
        case IncidentOpened():
            retrain = (entry.at, event.retrain) if event.retrain else ledger.retrain
            incidents = {**ledger.incidents, (event.rollout, event.trigger): entry.at}
            return replace(ledger, incidents=incidents, retrain=retrain)
        case DriftResolved():
            return replace(ledger, drifts={what: one for what, one in ledger.drifts.items() if what != event.what})
        case DriftFound():
            ledger = replace(ledger, drifts={**ledger.drifts, event.what: event})
            # Surefoot's own change that could not be made yet is no sign of another hand.
            theirs = event.rollout and event.rollout == ledger.open and not event.repeat
            return _within(ledger, ledger.rollout, event, entry.at) if ledger.rollout and theirs else ledger
        case StageEntered() | GateJudged() | Paused() | EndDecided() | RolloutEnded() if ledger.rollout:
            return _within(ledger, ledger.rollout, event, entry.at)
        case _:
            return ledger


def _within(
    ledger: Ledger,
    rollout: Rollout,
    event: StageEntered | GateJudged | Paused | EndDecided | RolloutEnded | DriftFound,
    at: float,
) -> Ledger:
    """The ledger after an event of the open rollout."""
    proven = ledger.proven
    match event:
        case StageEntered():
            changed = replace(
                rollout,
                stage=event.stage,
                step=event.step,
                entered_at=at,
                look=0,
                looked_at=at,
                verdicts={},
                paused=None,
                reason=event.reason,
            )
        case GateJudged():
            verdicts = dict(rollout.verdicts) if event.look == rollout.look else {}
            verdicts[event.verdict.gate] = event.verdict
            elapsed = event.level.elapsed if event.level else None
            asked = at if elapsed is None else rollout.entered_at + elapsed
            changed = replace(rollout, look=event.look, looked_at=at, asked_at=asked, verdicts=verdicts)
        case Paused():
            changed = replace(rollout, paused=event, reason=event.reason)
        case EndDecided():
            changed = replace(rollout, ending=event, reason=event.reason)
        case DriftFound():
            changed = replace(rollout, drifted=True, reason=f"{event.what} should be {event.expected}: {event.seen}")
        case RolloutEnded():
            changed = replace(rollout, stage=event.terminal_stage, reason=event.reason, paused=None)
            if event.terminal_stage in {Stage.PROMOTED, Stage.FAST_PROMOTED}:
                proven = _prove(proven, rollout.opened.candidate)
            if event.terminal_stage is Stage.FAST_ROLLED_BACK:
                # A version that was taken back after its bake is no target any more.
                proven = tuple(v for v in proven if v.digest != rollout.opened.champion.digest)
            # The traffic has ended there, even when the alias was somebody else's to move.
            kept = event.terminal_stage in {Stage.PROMOTED, Stage.FAST_PROMOTED, Stage.FAST_ROLLED_BACK}
            served = rollout.opened.candidate if kept else rollout.opened.champion
            ledger = replace(ledger, open="", champion=served)
        case _:
            assert_never(event)
    return replace(ledger, proven=proven, rollouts={**ledger.rollouts, rollout.opened.rollout: changed})


def _settled(ledger: Ledger, event: EffectDone | EffectRefused, at: float) -> Ledger:
    """The ledger after an intent was carried out or given up."""
    if ledger.intent is None or ledger.intent[0] != event.intent:
        return ledger
    seq, effect = ledger.intent
    ledger, rollout = replace(ledger, intent=None), ledger.rollout
    if isinstance(event, EffectRefused):
        if rollout is None:
            return ledger
        reason = rollout.reason if rollout.ending else event.reason  # why it ends matters more than what that meets
        changed = replace(rollout, refused=(*rollout.refused, effect), reason=reason)
        return replace(ledger, rollouts={**ledger.rollouts, ledger.open: changed})
    if isinstance(effect, SetSplit):
        # The split was read back after the change: what the gateway served before is no drift any more.
        drifts = {what: drift for what, drift in ledger.drifts.items() if what != LIVE_SPLIT_DRIFT}
        ledger = replace(ledger, split=split_of_effect(ledger, seq, effect), drifts=drifts)
    if rollout is None:
        return ledger
    if isinstance(effect, SetAlias) and effect.alias == "champion":
        both = (rollout.opened.champion, rollout.opened.candidate)
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
