"""Define registry drift (an alias or a version changed by hand): its names, incident triggers and reaction event."""

from dataclasses import dataclass
from enum import StrEnum

CHAMPION_DRIFT_NAME = "alias champion"
"""What it is called in the journal when alias `champion` is not the version that is served."""
SERVED_VERSION_DRIFT_PREFIX = "served version "
"""How the names of differences of the served version begin."""
DRIFT_TRIGGER_PREFIX = "drift of "
"""How the triggers of incidents that a difference has opened begin."""
UNKNOWN_REGISTRY_ACTOR = "MLflow, not identified"
"""Actor of what follows from a move in the registry: MLflow records neither who moves an alias, nor when."""


def served_version_drift_name(number: str) -> str:
    """What it is called in the journal when the registry no longer has the version that is served."""
    return f"{SERVED_VERSION_DRIFT_PREFIX}{number}"


def drift_incident_trigger(what: str) -> str:
    """What the incident of a difference is opened by; the same for the same difference."""
    return f"{DRIFT_TRIGGER_PREFIX}{what}"


def is_drift_trigger(trigger: str) -> bool:
    """Whether an incident was opened by a difference."""
    return trigger.startswith(DRIFT_TRIGGER_PREFIX)


class DriftReaction(StrEnum):
    """What is done about alias `champion` after another hand has moved it."""

    ALERT = "alert"
    REVERT = "revert"
    ADOPT = "adopt"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class DriftReactionChosen:
    """What is done about a difference was chosen; it is carried out after this entry.

    Attributes:
        what: What disagrees, as `DriftFound` calls it.
        reaction: What is done.
        before: Version that the alias points to now; None where it was removed.
        number: Version that the alias is set back to, or that traffic goes to; empty where nothing is changed.
        reason: Why.
        rollout: Id of the rollout that was open; empty where none was.
    """

    what: str
    reaction: DriftReaction
    before: str | None
    number: str
    reason: str
    rollout: str = ""


def describe_reaction(event: DriftReactionChosen) -> str:
    """What is done about a difference, as one line for a person."""
    moved = f"{event.what} points to {f'version {event.before}' if event.before else 'nothing'}"
    match event.reaction:
        case DriftReaction.ROLLBACK:
            return f"{moved}: that is a rollback to version {event.number}: {event.reason}"
        case DriftReaction.REVERT:
            return f"{moved}: it is to be set back to version {event.number}: {event.reason}"
        case DriftReaction.ADOPT:
            back = f"it is to be set back to version {event.number}"
            return f"{moved}: {back}, and version {event.before} is to be promoted: {event.reason}"
        case _:
            return f"{moved}, and stays there: {event.reason}"
