"""Find which version was rolled back, and the periods in which it answered callers."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from surefoot.core.domain import PROMOTED_STAGES, RolloutKind, Stage, Version
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import EffectIntended, RolloutEnded, RolloutOpened, SetSplit, decode_event
from surefoot.core.journal.ledger import Ledger, fold_entries


class ServingRole(StrEnum):
    """What a version served as when it answered."""

    CANARY = "canary"
    BAKING = "baking"
    CHAMPION = "champion"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ExposurePeriod:
    """A time in which a version answered callers under one split.

    Attributes:
        generation: Generation of the split: the sequence of its intent.
        since: Beginning [Unix seconds]; negative infinity for the beginning of the split.
        until: End, not included [Unix seconds]; infinity for the end of the split.
        phase: What the version served as.
        good: Version that would have answered in its place: the champion, or the last proven-good one; None without.
    """

    generation: int
    since: float
    until: float
    phase: ServingRole
    good: Version | None


def exposure_periods(model: str, entries: Iterable[Entry], bad: Version) -> tuple[ExposurePeriod, ...]:
    """Every time in which a version may have answered callers; times of one generation do not overlap.

    A split counts from its intent on: it may have been in force though its acknowledgement was lost.
    """
    ledger, found = Ledger(model), []
    for entry in entries:
        event = decode_event(entry.kind, entry.data)
        if isinstance(event, EffectIntended) and isinstance(event.effect, SetSplit):
            period = _period(ledger, entry.seq, event.effect, bad)
            found += [period] if period else []
        baked = ledger.rollout
        ledger = fold_entries(model, (entry,), ledger)
        if not isinstance(event, RolloutEnded) or event.terminal_stage not in PROMOTED_STAGES or not found:
            continue
        last = found[-1]
        if baked and baked.opened.candidate.digest == bad.digest and last.phase is ServingRole.BAKING:
            found[-1] = ExposurePeriod(last.generation, last.since, entry.at, last.phase, last.good)
            found.append(ExposurePeriod(last.generation, entry.at, float("inf"), ServingRole.CHAMPION, last.good))
    return tuple(found)


def _period(ledger: Ledger, seq: int, effect: SetSplit, bad: Version) -> ExposurePeriod | None:
    """The time that an intended split begins, if the version answers callers under it."""
    rollout = ledger.rollout
    every = (float("-inf"), float("inf"))
    if effect.candidate is not None and effect.candidate.digest == bad.digest and not effect.is_live_drill:
        return ExposurePeriod(seq, *every, ServingRole.CANARY, effect.champion) if effect.weight > 0.0 else None
    if effect.champion.digest != bad.digest:
        return None
    promoted = rollout is not None and rollout.opened.kind == RolloutKind.PROMOTION
    if rollout is not None and promoted and rollout.opened.candidate.digest == bad.digest and not rollout.ending:
        return ExposurePeriod(seq, *every, ServingRole.BAKING, rollout.opened.champion)
    known = (
        one for one in reversed(ledger.proven) if one.digest != bad.digest and one.digest not in ledger.quarantined
    )
    return ExposurePeriod(seq, *every, ServingRole.CHAMPION, next(known, None))


@dataclass(frozen=True, slots=True)
class RolledBackVersion:
    """A version that was taken back from callers.

    Attributes:
        version: The version.
        rollout: Id of the rollout that says so.
        opened: How it was opened.
    """

    version: Version
    rollout: str
    opened: RolloutOpened


def last_rolled_back_version(ledger: Ledger) -> RolledBackVersion | None:
    """The version that was taken back last; None when callers never had answers of one that was."""
    for item in reversed(tuple(ledger.rollouts.values())):
        found = version_rolled_back_by(ledger, item.opened.rollout)
        if found is not None:
            return found
    return None


def version_rolled_back_by(ledger: Ledger, rollout: str) -> RolledBackVersion | None:
    """The version that a rollout took back from callers, or put before them; None when it did neither."""
    item = ledger.rollouts[rollout]
    if item.opened.kind == RolloutKind.ROLLBACK:
        # Traffic is back before the registry is, which may take its time.
        back = item.stage is Stage.FAST_ROLLED_BACK or SetSplit(item.rollback_target, None, 0.0) in item.done
        return RolledBackVersion(item.opened.champion, rollout, item.opened) if back else None
    bad = item.opened.candidate
    shown = any(isinstance(effect, SetSplit) and _answers(effect, bad) for effect in (*item.done, *item.refused))
    stage = item.ending.terminal_stage if item.ending else item.stage
    back = stage in {Stage.ROLLED_BACK, Stage.ABORTED, Stage.WITHDRAWN, Stage.SUPERSEDED}
    return RolledBackVersion(bad, rollout, item.opened) if shown and back else None


def _answers(effect: SetSplit, version: Version) -> bool:
    """Whether a version answers callers under a split."""
    if effect.champion.digest == version.digest:
        return True
    return effect.candidate is not None and effect.candidate.digest == version.digest and effect.weight > 0.0
