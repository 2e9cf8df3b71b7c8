"""Define the content of an incident report: impact, costs, traffic, gate evaluations and actions."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from surefoot.core.domain import Verdict, Version
from surefoot.core.incidents.incident_state import Incident
from surefoot.core.incidents.request_trace import RequestTrace
from surefoot.core.incidents.timeline import Timeline


@dataclass(frozen=True, slots=True)
class DecisionCosts:
    """What decisions on the same requests cost, by the prices in the policy.

    Attributes:
        compared: Answers that have a label, and that the good version was asked as well [count].
        version: What the decisions of the version cost [money].
        good: What those of the good version would have cost [money].
    """

    compared: int
    version: float
    good: float

    @property
    def difference(self) -> float:
        """How much more the decisions of the version cost [money]; negative where they cost less."""
        return self.version - self.good


@dataclass(frozen=True, slots=True)
class Impact:
    """Who got answers of the version since the trouble began, from the list of its answers.

    Attributes:
        answers: Rows that were answered [count].
        requests: Requests that they belong to [count].
        units: Different units among them [count]; None where no unit is known.
        groups: Answers by group, `column=value`.
        phases: Answers by what the version served as.
        known: Answers of which it is known what the good version would have said [count].
        changed: Answers among those that the good version gives otherwise [count]; None where none is known.
        all_answers: Answers of the version before the onset as well [count].
        failed: Requests that the version failed and another one answered, since the onset [count].
        first: Time of the first of the answers [Unix seconds]; None without one.
        last: Time of the last [Unix seconds]; None without one.
        costs: What its decisions cost; None where the policy names no prices, or no label is known yet.
    """

    answers: int
    requests: int
    units: int | None
    groups: Mapping[str, int]
    phases: Mapping[str, int]
    known: int
    changed: int | None
    all_answers: int
    failed: int
    first: float | None
    last: float | None
    costs: DecisionCosts | None = None


@dataclass(frozen=True, slots=True)
class VersionTraffic:
    """What one version did in one interval of time.

    Attributes:
        at: Beginning of the interval [Unix seconds].
        version: Number of the version.
        answers: Rows that it was asked for [count].
        failed: Rows among them that it failed [count].
        latency_ms: 95th percentile of its latency [ms]; None where none was measured.
    """

    at: float
    version: str
    answers: int
    failed: int
    latency_ms: float | None


@dataclass(frozen=True, slots=True)
class GateEvaluationRow:
    """One evaluation of the gate that decided.

    Attributes:
        at: When [Unix seconds].
        verdict: What it answered.
    """

    at: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Action:
    """Something that was done about the incident.

    Attributes:
        at: When [Unix seconds].
        actor: Who or what did it.
        text: What was done, as one sentence.
    """

    at: float
    actor: str
    text: str


@dataclass(frozen=True, slots=True)
class IncidentReport:
    """Everything that the report of an incident shows.

    Attributes:
        model: Registered model.
        incident: The incident.
        good: The version that serves in place of the one that was taken back; None where that is not known.
        timeline: Its moments.
        impact: Who got answers of the version; None while they are not listed.
        verdicts: The last verdict of each gate before the decision.
        looks: All looks of the gate that decided, oldest first.
        traffic: What both versions did around the incident.
        actions: Who did what, oldest first.
        policy_digest: SHA-256 of the policy in force.
        upto: Sequence of the last journal entry that the report tells of.
        pending: What is still to be done, each as a sentence.
        traces: A few requests, stage by stage through both versions.
    """

    model: str
    incident: Incident
    good: Version | None
    timeline: Timeline
    impact: Impact | None
    verdicts: tuple[Verdict, ...]
    looks: tuple[GateEvaluationRow, ...]
    traffic: tuple[VersionTraffic, ...]
    actions: tuple[Action, ...]
    policy_digest: str
    upto: int
    pending: tuple[str, ...] = field(default=())
    traces: tuple[RequestTrace, ...] = ()
