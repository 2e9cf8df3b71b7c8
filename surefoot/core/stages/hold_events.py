"""Define the journal events of pauses and freezes, which hold a rollout."""

from dataclasses import dataclass
from enum import StrEnum


class FreezeSource(StrEnum):
    """What asked for a freeze."""

    PERSON = "person"
    CALENDAR = "calendar"


@dataclass(frozen=True, slots=True)
class RolloutPaused:
    """A person holds the rollout in place; its guardrails stay armed.

    Attributes:
        rollout: Id of the rollout.
        reason: Why.
    """

    rollout: str
    reason: str


@dataclass(frozen=True, slots=True)
class RolloutResumed:
    """A person lets a paused rollout go on.

    Attributes:
        rollout: Id of the rollout.
        reason: Why.
    """

    rollout: str
    reason: str


@dataclass(frozen=True, slots=True)
class FreezeBegan:
    """No version gets more traffic for a while; rollouts are held in place, and go back as ever.

    Attributes:
        source: What asked for it.
        reason: Why: what the person said, or what the calendar calls it.
        until: When it ends by itself [Unix seconds]; None where a person has to end it.
    """

    source: FreezeSource
    reason: str
    until: float | None = None


@dataclass(frozen=True, slots=True)
class FreezeEnded:
    """A freeze is over before its time, or one without an end is over.

    Attributes:
        source: What had asked for it.
        reason: Why it is over.
    """

    source: FreezeSource
    reason: str


@dataclass(frozen=True, slots=True)
class FreezeOverridden:
    """A person lets one rollout go on in spite of freezes.

    Attributes:
        rollout: Id of the rollout.
        reason: Why.
    """

    rollout: str
    reason: str


FreezeEvent = FreezeBegan | FreezeEnded
HoldEvent = RolloutPaused | RolloutResumed | FreezeOverridden
"""Events of one rollout."""


def describe_hold(event: FreezeEvent | HoldEvent) -> str:
    """What holds a rollout in place, or does no longer, as one line for a person."""
    match event:
        case RolloutPaused():
            return f"paused by a person: {event.reason}"
        case RolloutResumed():
            return f"resumed: {event.reason}"
        case FreezeBegan():
            by = "the calendar freezes the model" if event.source is FreezeSource.CALENDAR else "the model is frozen"
            return f"{by}: {event.reason}"
        case FreezeEnded():
            which = "the freeze of the calendar" if event.source is FreezeSource.CALENDAR else "the freeze"
            return f"{which} is over: {event.reason}"
        case FreezeOverridden():
            return f"this rollout goes on in spite of freezes: {event.reason}"
