"""Describe the outcome of rollouts in words, and the status of each version that follows from it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from surefoot.core.domain import RolloutKind, Stage, Version
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.event_sentences import describe_rollout
from surefoot.core.journal.events import (
    CandidateRefused,
    ChampionAdopted,
    RolloutEnded,
    RolloutOpened,
    StageEntered,
    decode_event,
)
from surefoot.core.journal.ledger import Ledger, Rollout
from surefoot.core.journal.served_version_events import RollbackTargetChanged, VersionReleased

REFUSED_OUTCOME = "Refused"
"""Outcome of a version that was refused without a rollout."""
_SAYS_NOTHING = {Stage.WITHDRAWN, Stage.SUPERSEDED}
"""Ends that are no verdict on a version: a later refusal says more."""
_GOOD = {Stage.PROMOTED, Stage.FAST_PROMOTED}


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """Where one version stands, or how its last rollout has ended.

    Attributes:
        number: Version.
        outcome: Name of a stage, or REFUSED_OUTCOME.
        reason: Why.
        rollout: Id of the rollout that says so; empty when there was none.
        at: When, in the clock of the policies [Unix seconds].
        wall: When, in the host's clock [Unix seconds].
        over: Whether this is the end.
    """

    number: str
    outcome: str
    reason: str
    rollout: str
    at: float
    wall: float
    over: bool


def version_statuses(entries: Iterable[Entry]) -> dict[str, VersionStatus]:
    """Where each version stands, by number; a version that the journal says nothing of is left out.

    Args:
        entries: The journal, or its part from the opening of a rollout on.
    """
    found: dict[str, VersionStatus] = {}
    opened: dict[str, RolloutOpened] = {}
    champion = ""
    for entry in entries:
        event = decode_event(entry.kind, entry.data)
        match event:
            case ChampionAdopted():
                champion = event.champion.number
            case RolloutOpened():
                opened[event.rollout] = event
                if event.kind == RolloutKind.PROMOTION:
                    _put(found, entry, event.candidate.number, Stage.SUBMITTED, event.reason, event.rollout)
            case StageEntered() if event.rollout in opened and opened[event.rollout].kind == RolloutKind.PROMOTION:
                stage = f"{event.stage} step {event.step + 1}" if event.stage is Stage.RAMPING else str(event.stage)
                _put(found, entry, opened[event.rollout].candidate.number, stage, event.reason, event.rollout)
            case RolloutEnded() if event.rollout in opened:
                began = opened[event.rollout]
                kept = event.terminal_stage in _GOOD or event.terminal_stage is Stage.FAST_ROLLED_BACK
                champion = began.candidate.number if kept else began.champion.number
                if began.kind == RolloutKind.PROMOTION:
                    _put(found, entry, began.candidate.number, event.terminal_stage, event.reason, event.rollout)
                elif event.terminal_stage is Stage.FAST_ROLLED_BACK:
                    reason = f"{describe_rollout(began)}: {event.reason}"
                    _put(found, entry, began.champion.number, event.terminal_stage, reason, event.rollout)
            case RollbackTargetChanged() if event.rollout in opened:
                opened[event.rollout] = _redirected(opened[event.rollout], event.target)
            case VersionReleased() if known := found.get(event.version.number):
                found[known.number] = replace(known, reason=f"{known.reason}; released: {event.reason}")
            case CandidateRefused() if event.number != champion:
                _refuse(found, entry, event)
            case _:
                pass
    return found


def _redirected(opened: RolloutOpened, target: Version) -> RolloutOpened:
    """The opening of a rollout as if it had named the version that traffic went back to in the end."""
    if opened.kind == RolloutKind.ROLLBACK:
        return replace(opened, candidate=target)
    return replace(opened, champion=target)


def rollout_title(rollout: Rollout) -> str:
    """What a rollout does; a rollback whose target was unfit names the version that it went back to instead."""
    return describe_rollout(_redirected(rollout.opened, rollout.rollback_target))


def _put(found: dict[str, VersionStatus], entry: Entry, number: str, outcome: str, reason: str, rollout: str) -> None:
    over = isinstance(outcome, Stage) and outcome.is_terminal
    found[number] = VersionStatus(number, str(outcome), reason, rollout, entry.at, entry.wall, over)


def _refuse(found: dict[str, VersionStatus], entry: Entry, event: CandidateRefused) -> None:
    """Take a refusal as the outcome of a version without a verdict; on another one, as why it is not tried again."""
    known = found.get(event.number)
    if known is None or known.outcome in {*_SAYS_NOTHING, REFUSED_OUTCOME}:
        rollout = known.rollout if known else ""
        found[event.number] = VersionStatus(
            event.number, REFUSED_OUTCOME, event.reason, rollout, entry.at, entry.wall, over=True
        )
    elif known.over and known.outcome not in _GOOD:
        found[event.number] = replace(known, reason=event.reason, at=entry.at, wall=entry.wall)


def current_outcome(ledger: Ledger, rollout: Rollout) -> tuple[Stage, str]:
    """How a rollout stands today, with the reason: a promoted version may have been taken back by a later rollback.

    Returns:
        The stage, the terminal stage that is decided, or that of the rollback; and why.
    """
    if rollout.opened.kind == RolloutKind.PROMOTION and rollout.stage in _GOOD:
        later = tuple(ledger.rollouts.values())
        for item in later[later.index(rollout) + 1 :]:
            if (
                item.opened.kind == RolloutKind.PROMOTION
                and item.opened.candidate.digest == rollout.opened.candidate.digest
            ):
                break  # it was promoted once more: that rollout has the later word
            taken = item.opened.champion.digest == rollout.opened.candidate.digest
            if item.opened.kind == RolloutKind.ROLLBACK and item.stage is Stage.FAST_ROLLED_BACK and taken:
                return item.stage, f"{rollout_title(item)}: {item.reason}"
    if rollout.ending and not rollout.stage.is_terminal:
        return rollout.ending.terminal_stage, f"{rollout_title(rollout)}: {rollout.ending.reason}"
    return rollout.stage, f"{rollout_title(rollout)}: {rollout.reason}"


def is_failed_end(kind: str, stage: Stage) -> bool:
    """Whether this is an end that was not wanted; a rollback that went back has done what it was for."""
    return (
        stage.is_terminal
        and stage not in _GOOD
        and not (kind == RolloutKind.ROLLBACK and stage is Stage.FAST_ROLLED_BACK)
    )
