"""Define the journal events of a rollback drill in production."""

from dataclasses import dataclass

from surefoot.core.domain import Version


@dataclass(frozen=True, slots=True)
class LiveDrillBegan:
    """The champion is about to serve as its own candidate, for a part of the units.

    Attributes:
        drill: Id of the drill; its answers have it in the prediction log where those of a rollout have the rollout's.
        champion: The version in both arms.
        weight: Share of the units in the candidate's arm [percent].
        units: Canonical texts of units that are in the candidate's arm whatever their hash.
        until: When the traffic is back at the latest [Unix seconds].
    """

    drill: str
    champion: Version
    weight: float
    units: tuple[str, ...]
    until: float


@dataclass(frozen=True, slots=True)
class LiveDrillEnded:
    """The traffic of a live drill was taken back: the champion alone answers.

    Attributes:
        drill: Id of the drill.
        reason: Why it ended.
        completed: Whether its time was over, and nothing has stopped it.
    """

    drill: str
    reason: str
    completed: bool


@dataclass(frozen=True, slots=True)
class LiveDrillResult:
    """What a live drill has shown.

    Attributes:
        requests: Requests that the candidate's arm answered [count].
        caller_errors: Requests of callers that no version answered, in both arms [count].
        shift_ms: From the intent until every worker had the candidate's arm [milliseconds]; None where not reached.
        restore_ms: From the intent until every worker had the champion alone again [milliseconds]; None where another
            route was put in force, or not by the command that ran the drill.
        compared: Answers of the candidate's arm that were compared with the champion's own [count].
        differed: Answers among them that are not equal within float noise [count].
        problem: What is wrong, in one sentence; empty where the way there and back works.
    """

    requests: int
    caller_errors: int
    shift_ms: float | None
    restore_ms: float | None
    compared: int
    differed: int
    problem: str = ""
