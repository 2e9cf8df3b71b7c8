"""Define the journal events that record work on an incident."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from surefoot.core.triage.triage import Cause
from surefoot.core.triage.triage_facts import CauseDetail


class NoteKind(StrEnum):
    """What a note of an incident is: an observation, feedback of a user, a step that was done, or a message sent."""

    NOTE = "note"
    FEEDBACK = "feedback"
    STEP = "step"
    MESSAGE = "message"


@dataclass(frozen=True, slots=True)
class IncidentNoted:
    """A person added something to an incident.

    Attributes:
        incident: Id of the incident.
        kind: What it is.
        text: What was observed, done or said.
        source: Who said it, where that is another person than the one who typed it; empty otherwise.
    """

    incident: str
    kind: NoteKind
    text: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class IncidentReported:
    """The report of an incident was written to files.

    Attributes:
        incident: Id of the incident.
        upto: Sequence of the last journal entry that the report tells of.
        file: Name of the HTML file in the state folder.
        digest: SHA-256 of its bytes.
        requests: Answers that callers got from the version [count]; None while they are not listed.
        units: Different units among them [count]; None where no unit is known.
        time_to_detect: From the onset to the detection [seconds]; None where the onset is not known.
        time_to_restore: From the detection until traffic was back [seconds]; None while it is not.
    """

    incident: str
    upto: int
    file: str
    digest: str
    requests: int | None = None
    units: int | None = None
    time_to_detect: float | None = None
    time_to_restore: float | None = None


@dataclass(frozen=True, slots=True)
class IncidentTriaged:
    """What caused an incident was decided from what was measured.

    Attributes:
        incident: Id of the incident.
        cause: The cause, or that it is not known.
        column: The column that is to blame; empty without one.
        sentence: Why, in one sentence.
        evidence: What was measured, each as a sentence.
        would_tell: What would tell the cause, or confirm it, each as a sentence.
        detail: What is wrong with the column, the resource or the labels, where that is clear.
        traces: SHA-256 of the file of traced requests, which lies beside the report; empty without one.
    """

    incident: str
    cause: Cause
    column: str
    sentence: str
    evidence: tuple[str, ...] = ()
    would_tell: tuple[str, ...] = ()
    detail: CauseDetail = CauseDetail.NONE
    traces: str = ""

    @property
    def cause_in_words(self) -> str:
        """The cause with its column and its detail, such as "one faulty feature (pressure, another unit)"."""
        more = ", ".join(text for text in (self.column, self.detail.value) if text)
        return f"{self.cause} ({more})" if more else self.cause.value


@dataclass(frozen=True, slots=True)
class EvidenceHeld:
    """Everything that an incident rests on is kept, whatever its age, until a person lifts the hold.

    Attributes:
        incident: Id of the incident.
        since: Beginning of the window of the prediction log that is kept [Unix seconds].
        until: Its end [Unix seconds].
        digests: SHA-256 of what was frozen, by what it is: artifacts, policy, routes, log files.
        missing: What could not be frozen, and why, by what it is.
    """

    incident: str
    since: float
    until: float
    digests: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EvidenceHoldLifted:
    """A person allowed that the evidence of an incident expires as everything else does.

    Attributes:
        incident: Id of the incident.
        reason: Why.
    """

    incident: str
    reason: str


@dataclass(frozen=True, slots=True)
class IncidentClosed:
    """A person closed an incident.

    Attributes:
        incident: Id of the incident.
        cause: What caused it, as that person judges; empty where it is not known.
        reason: Why it is over.
        false_alarm: Whether nothing was wrong with the version, so that its rollback was a false one.
    """

    incident: str
    cause: str
    reason: str
    false_alarm: bool = False


@dataclass(frozen=True, slots=True)
class MessageDrafted:
    """A message about an incident was drafted from a template for an audience.

    Attributes:
        incident: Id of the incident.
        audience: Who is told: users, support, management, or the name of a template.
        text: The message, whose first line is its subject; empty where the template could not be filled.
        send: Whether the policy has it sent.
        counted: Whether the answers of the version were listed by then, so that it names numbers.
        problem: Why the template could not be filled; empty where it could.
    """

    incident: str
    audience: str
    text: str
    send: bool = False
    counted: bool = False
    problem: str = ""


IncidentEvent = (
    IncidentNoted
    | IncidentReported
    | IncidentTriaged
    | EvidenceHeld
    | EvidenceHoldLifted
    | IncidentClosed
    | MessageDrafted
)
