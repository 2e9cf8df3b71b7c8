"""Decide what caused an incident from measured facts, or say which facts are missing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Cause(StrEnum):
    """What caused an incident; the value is what people read."""

    ARTIFACT = "damaged artifact"
    SERVING = "serving or environment"
    RESOURCES = "resources"
    CONTRACT = "input that the version cannot take"
    FEATURE = "one faulty feature"
    INPUTS = "shift of the input data"
    LABELS = "upstream labels"
    RELATION = "changed relation of inputs and outcome"
    MODEL = "the model itself"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ColumnShift:
    """How far a column's values after the onset are from those before it.

    Attributes:
        distance: Largest difference of the two distributions, 0 to 1.
        noise: Largest difference that chance alone makes in one of a hundred such comparisons.
        what: The change in words, such as "median 1013.1 -> 101310".
        restored: Share of the additional loss that is gone when the column has its values of before [fraction];
            None where it was not tried.
    """

    distance: float
    noise: float
    what: str
    restored: float | None = None


@dataclass(frozen=True, slots=True)
class FailureCondition:
    """A property of the requests that goes along with failures.

    Attributes:
        column: Name of the column.
        what: The property in words, such as "is missing".
        explained: Share of the failures that have it [fraction].
        failing: Share of the requests with it that fail [fraction].
        otherwise: Share of the requests without it that fail [fraction].
    """

    column: str
    what: str
    explained: float
    failing: float
    otherwise: float


@dataclass(frozen=True, slots=True)
class TriageFacts:
    """What was measured around the onset; what was not measured is None or empty.

    Attributes:
        artifact_problem: Why the version's bytes are not those of its digest; empty where they are.
        too_slow: Whether a gate of latency or resources has decided.
        trial: Whether the version was on trial, so that it never was known to be good.
        replayed: Logged answers of the version that were computed again in a fresh process [count].
        replay_differs: Answers among those that differ [count].
        asked: Requests that the version was asked after the onset [count].
        failed: Requests among those that it failed [count].
        good_failed: Share of its requests that the other version failed in the same time [fraction].
        error: The most frequent error of the failures, as it was logged.
        condition: The property that explains most failures; None without one.
        labelled: Requests after the onset that have labels [count].
        loss_before: Mean loss of the version before the onset; None where it is not known.
        loss_after: The same after the onset.
        good_before: Mean loss of the good version on the same requests before the onset.
        good_after: The same after the onset.
        tolerance: Change of a mean loss that chance explains.
        label_before: Mean label before the onset; None where labels are no numbers.
        label_after: The same after it.
        label_tolerance: Change of the mean label that chance explains.
        shifts: How far each column has moved, by column; columns of the calendar are left out.
        latency_ms: 95th percentile of the version's latency after the onset [ms].
        good_latency_ms: The same of the other version.
        problems: What could not be measured, and why.
    """

    artifact_problem: str = ""
    too_slow: bool = False
    trial: bool = False
    replayed: int = 0
    replay_differs: int = 0
    asked: int = 0
    failed: int = 0
    good_failed: float = 0.0
    error: str = ""
    condition: FailureCondition | None = None
    labelled: int = 0
    loss_before: float | None = None
    loss_after: float | None = None
    good_before: float | None = None
    good_after: float | None = None
    tolerance: float = 0.0
    label_before: float | None = None
    label_after: float | None = None
    label_tolerance: float = 0.0
    shifts: Mapping[str, ColumnShift] = field(default_factory=dict)
    latency_ms: float | None = None
    good_latency_ms: float | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Triage:
    """What caused an incident.

    Attributes:
        cause: The cause, or that it is not known.
        column: The column that is to blame; empty without one.
        sentence: Why, in one sentence.
        evidence: What was measured, each as a sentence.
        would_tell: What would tell the cause, or confirm it, each as a sentence.
    """

    cause: Cause
    column: str
    sentence: str
    evidence: tuple[str, ...]
    would_tell: tuple[str, ...]


_MakeTriage = Callable[..., Triage]
_DIFFERS = 0.01
"""More logged answers than this that a fresh process gives otherwise are no rounding [fraction]."""
_FAILS = 0.005
"""More failures than this above the other version's are worth a cause [fraction]."""
_EXPLAINS = 0.8
"""A property explains failures when it is there in so many of them [fraction]."""
_TIMES_RARER = 5.0
"""And when requests without it fail so many times more rarely."""
_RESTORES = 0.5
"""A column is to blame when its values of before take away so much of the additional loss [fraction]."""
_SLOWER = 1.5
"""Latency is worth a cause when it is so many times the other version's."""
_EXHAUSTED = ("memory", "timeout", "timed out", "did not answer", "died", "killed", "too many", "no space")
"""Words of errors that tell of resources and not of data."""


def decide_cause(facts: TriageFacts) -> Triage:
    """The most specific cause that the facts show; unknown when they show none, or contradict each other.

    The order is that of certainty: bytes and answers can be compared exactly, failures can be counted, and losses
    need labels and a guess of what chance does.
    """
    evidence = tuple(_evidence(facts))

    def found(cause: Cause, sentence: str, column: str = "", *would_tell: str) -> Triage:
        return Triage(cause, column, sentence, evidence, would_tell)

    if facts.artifact_problem:
        return found(
            Cause.ARTIFACT, f"the version's bytes are not those that were registered: {facts.artifact_problem}"
        )
    if facts.replayed and facts.replay_differs > max(_DIFFERS * facts.replayed, 1.0):
        count = f"{facts.replay_differs:,} of {facts.replayed:,}"
        said = f"a fresh process of the same version gives {count} logged answers otherwise"
        return found(
            Cause.SERVING, said, "", "compare packages and settings of the gateway's host with those of training"
        )
    if facts.asked and facts.failed / facts.asked - facts.good_failed > _FAILS:
        return _cause_of_failures(facts, found)
    harm = _harm(facts)
    if harm is not None:
        return _cause_of_harm(facts, found, harm)
    slower = facts.latency_ms and facts.good_latency_ms and facts.latency_ms > _SLOWER * facts.good_latency_ms
    if facts.too_slow and slower:
        said = f"the version takes {facts.latency_ms:.0f} ms where the other one takes {facts.good_latency_ms:.0f} ms"
        return found(Cause.RESOURCES, said, "", "profile one request of the version on an idle host")
    return found(Cause.UNKNOWN, "nothing that was measured explains it", "", *_would_tell(facts))


def _cause_of_failures(facts: TriageFacts, found: _MakeTriage) -> Triage:
    """Why a version fails requests that the other one answers."""
    condition = facts.condition
    rare = condition is not None and condition.otherwise * _TIMES_RARER <= condition.failing
    if condition is not None and condition.explained >= _EXPLAINS and rare:
        said = (
            f"it fails where {condition.column} {condition.what}: {condition.explained:.0%} of its failures, and"
            f" {condition.failing:.0%} of these requests, against {condition.otherwise:.1%} of the others"
        )
        return found(Cause.CONTRACT, said, condition.column, "ask the version about one such row by hand")
    if any(word in facts.error.lower() for word in _EXHAUSTED):
        return found(
            Cause.RESOURCES, f"most failures say: {facts.error}", "", "watch memory and threads of one process"
        )
    said = f"it fails {facts.failed:,} of {facts.asked:,} requests, and no property of them explains that"
    return found(Cause.UNKNOWN, said, "", f"read the most frequent error: {facts.error or 'none was logged'}")


def _harm(facts: TriageFacts) -> float | None:
    """By how much the version's mean loss is too high after the onset; None where it is not, or not known."""
    if facts.loss_after is None:
        return None
    other = facts.good_after if facts.trial else facts.loss_before
    worse = None if other is None else facts.loss_after - other
    return worse if worse is not None and worse > facts.tolerance else None


def _cause_of_harm(facts: TriageFacts, found: _MakeTriage, harm: float) -> Triage:
    """Why the answers of a version are worse than they should be."""
    moved = _moved(facts)
    blamed = [(name, one) for name, one in moved if one.restored is not None and one.restored >= _RESTORES]
    suffers = _good_suffers(facts)
    if blamed:
        name, one = blamed[0]
        gone = f"{one.restored:.0%} of the additional loss of {harm:.4g}"
        said = f"with the values that {name} had before, {gone} is gone ({one.what})"
        return found(Cause.FEATURE, said, name, f"ask the owner of {name} what changed")
    if len(moved) == 1:
        name, one = moved[0]
        said = f"{name} is the only column that has moved ({one.what}), while the loss rose by {harm:.4g}"
        return found(Cause.FEATURE, said, name, f"ask the owner of {name} what changed")
    if facts.trial and not moved:
        said = f"on the same requests, whose data has not moved, its loss is {harm:.4g} higher than the good version's"
        return found(Cause.MODEL, said, "", "compare the training data and settings of both versions")
    if moved and suffers:
        named = ", ".join(name for name, _ in moved[:3])
        said = f"both versions got worse when {named} moved, and no single column explains it"
        return found(Cause.INPUTS, said, "", "ask the owners of these columns; train again on the new data")
    if not moved and suffers and _labels_moved(facts):
        went = f"the mean label went from {facts.label_before:.4g} to {facts.label_after:.4g}"
        said = f"both versions got worse while the inputs stayed as they were, and {went}"
        return found(Cause.LABELS, said, "", "ask the owner of the labels what changed")
    if not moved and not suffers and not facts.trial:
        said = f"its loss is {harm:.4g} higher than before on inputs that have not moved, and the good version's is not"
        return found(Cause.RELATION, said, "", "train again on requests after the onset, and compare")
    return found(
        Cause.UNKNOWN,
        f"its loss is {harm:.4g} too high, and what was measured fits no single cause",
        "",
        *_would_tell(facts),
    )


def _good_suffers(facts: TriageFacts) -> bool:
    """Whether the good version got worse at the same time."""
    if facts.good_before is None or facts.good_after is None:
        return False
    return facts.good_after - facts.good_before > facts.tolerance


def _labels_moved(facts: TriageFacts) -> bool:
    if facts.label_before is None or facts.label_after is None:
        return False
    return abs(facts.label_after - facts.label_before) > facts.label_tolerance


def _moved(facts: TriageFacts) -> list[tuple[str, ColumnShift]]:
    """Columns that moved further than chance explains: those that restore most first, then those that moved most."""
    moved = [(name, one) for name, one in facts.shifts.items() if one.distance > one.noise]
    return sorted(moved, key=lambda pair: (-(pair[1].restored or 0.0), -pair[1].distance, pair[0]))


def _evidence(facts: TriageFacts) -> list[str]:
    """What was measured, each as a sentence."""
    said = []
    if facts.replayed:
        said.append(
            f"{facts.replay_differs:,} of {facts.replayed:,} logged answers differ from those of a fresh process"
        )
    if facts.asked:
        own = f"the version failed {facts.failed:,} of {facts.asked:,} requests"
        said.append(f"{own}; the other one {facts.good_failed:.2%} of its own")
    for who, before, after in (
        ("its", facts.loss_before, facts.loss_after),
        ("the good version's", facts.good_before, facts.good_after),
    ):
        if after is not None:
            was = "" if before is None else f", {before:.4g} before the onset"
            said.append(f"{who} mean loss on {facts.labelled:,} requests with labels is {after:.4g}{was}")
    if facts.label_before is not None and facts.label_after is not None:
        said.append(
            f"the mean label was {facts.label_before:.4g} before and is {facts.label_after:.4g} after the onset"
        )
    for name, one in _moved(facts)[:3]:
        back = (
            ""
            if one.restored is None
            else f"; its values of before take away {one.restored:.0%} of the additional loss"
        )
        said.append(
            f"{name} has moved by {one.distance:.2f} of 1, where chance explains {one.noise:.2f} ({one.what}){back}"
        )
    if facts.latency_ms is not None and facts.good_latency_ms is not None:
        said.append(
            f"95 % of its answers came within {facts.latency_ms:.1f} ms, of the other version's within"
            f" {facts.good_latency_ms:.1f} ms"
        )
    return [*said, *(f"not measured: {problem}" for problem in facts.problems)]


def _would_tell(facts: TriageFacts) -> list[str]:
    """What would tell the cause where the facts do not."""
    said = []
    if not facts.labelled:
        said.append("labels of the requests after the onset: none have come yet")
    if not facts.replayed:
        said.append("the logged answers computed again by the same version: that was not possible here")
    if not facts.shifts:
        said.append("the features of requests before the onset: the prediction log holds none")
    return said or ["a person who compares some answers of both versions row by row"]
