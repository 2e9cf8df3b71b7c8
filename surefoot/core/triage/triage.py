"""Decide the cause of an incident from measured facts."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from surefoot.core.triage.label_faults import describe_shifted_labels, find_label_fault
from surefoot.core.triage.triage_evidence import list_evidence, list_missing_facts, shifted_columns
from surefoot.core.triage.triage_facts import CauseDetail, ColumnCorrection, TriageFacts


class Cause(StrEnum):
    """What caused an incident; the value is what people read."""

    ARTIFACT = "damaged artifact"
    SERVING = "serving or environment"
    RESOURCES = "resources"
    CONTRACT = "input that the version cannot take"
    ENCODING = "preprocessing or encoding"
    TIMING = "a feature that is not known in time"
    FEATURE = "one faulty feature"
    INPUTS = "shift of the input data"
    LABELS = "upstream labels"
    RELATION = "changed relation of inputs and outcome"
    MODEL = "the model itself"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Triage:
    """What caused an incident.

    Attributes:
        cause: The cause, or that it is not known.
        column: The column that is to blame; empty without one.
        sentence: Why, in one sentence.
        evidence: What was measured, each as a sentence.
        would_tell: What would tell the cause, or confirm it, each as a sentence.
        detail: What is wrong with the column, the resource or the labels, where that is clear.
    """

    cause: Cause
    column: str
    sentence: str
    evidence: tuple[str, ...]
    would_tell: tuple[str, ...]
    detail: CauseDetail = CauseDetail.NONE


_MakeTriage = Callable[..., Triage]
_DIFFERS = 0.01
"""More logged answers than this that a fresh process gives otherwise are no rounding [fraction]."""
_EXPLAINS = 0.8
"""A property explains failures when it is there in so many of them [fraction]."""
_TIMES_RARER = 5.0
"""And when requests without it fail so many times more rarely."""
_RESTORES = 0.5
"""A column is to blame when its values of before take away so much of the additional loss [fraction]."""
_SLOWER = 1.5
"""Latency is worth a cause when it is so many times the other version's."""
_LARGER = 1.3
"""Memory is worth a cause when it is so many times the other version's."""
_SINGLE_RESTORES = 0.2
"""The only column that has moved is to blame when its values of before take away so much of the loss [fraction]."""
_CONSTANT = 0.95
"""A column tells nothing when so many requests have one value in it [fraction]."""
_REACTS = 0.03
"""Answers react to a column when they change so much with it [share of their range]."""
_TIMES_WEAKER = 8.0
"""A version leaves a column out when it reacts so many times more weakly than the other one."""
_CONCENTRATED = 0.7
"""A group has the harm when so much of the additional loss is in it [fraction]."""
_RESOURCE_ERRORS = {
    CauseDetail.MEMORY: ("memory", "no space", "cannot allocate"),
    CauseDetail.SLOW: ("timeout", "timed out", "did not answer", "no answer within", "still busy"),
    CauseDetail.PROCESS: ("died", "killed", "process ended", "has ended", "too many"),
}
"""Words of errors that tell of resources and not of data."""


def decide_cause(facts: TriageFacts) -> Triage:
    """The most specific cause that the facts show; unknown when they show none, or contradict each other.

    The order is that of certainty: bytes and answers can be compared exactly, failures can be counted, times and memory
    are measured where a gate of them has decided, and losses need labels and a guess of what chance does.
    """
    evidence = tuple(list_evidence(facts))

    def found(
        cause: Cause, sentence: str, column: str = "", *would_tell: str, detail: CauseDetail = CauseDetail.NONE
    ) -> Triage:
        return Triage(cause, column, sentence, evidence, would_tell, detail)

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
    if facts.fails_more:
        return _cause_of_failures(facts, found)
    if (resource := _cause_in_resources(facts, found)) is not None:
        return resource
    harm = facts.harm
    for look in (_clearly_changed_column, _broken_labels):
        if (cause := look(facts, found)) is not None:
            return cause
    if harm is not None:
        return _cause_of_harm(facts, found, harm)
    for look in (_certain_mistake, _confused_codes, _answers_of_another_input):
        if (cause := look(facts, found)) is not None:
            return cause
    return found(Cause.UNKNOWN, "nothing that was measured explains it", "", *list_missing_facts(facts))


def _cause_of_failures(facts: TriageFacts, found: _MakeTriage) -> Triage:
    """Why a version fails requests that the other one answers."""
    error = facts.error.lower()
    for detail, words in _RESOURCE_ERRORS.items():
        if any(word in error for word in words):
            said = f"most failures say: {facts.error}"
            grown = detail is CauseDetail.PROCESS and _is_larger(facts)
            said += f", and its process has grown to {facts.memory_mb:,.0f} MB" if grown else ""
            told = "watch memory and threads of one process"
            return found(Cause.RESOURCES, said, "", told, detail=CauseDetail.MEMORY if grown else detail)
    condition = facts.condition
    rare = condition is not None and condition.otherwise * _TIMES_RARER <= condition.failing
    if condition is not None and condition.explained >= _EXPLAINS and rare:
        said = (
            f"it fails where {condition.column} {condition.what}: {condition.explained:.0%} of its failures, and"
            f" {condition.failing:.0%} of these requests, against {condition.otherwise:.1%} of the others"
        )
        detail = CauseDetail.MISSING if condition.what == "is missing" else CauseDetail.NONE
        asked = "ask the version about one such row by hand"
        return found(Cause.CONTRACT, said, condition.column, asked, detail=detail)
    said = f"it fails {facts.failed:,} of {facts.asked:,} requests, and no property of them explains that"
    return found(Cause.UNKNOWN, said, "", f"read the most frequent error: {facts.error or 'none was logged'}")


def _cause_in_resources(facts: TriageFacts, found: _MakeTriage) -> Triage | None:
    """What the version uses too much of, where a gate of latency or resources has decided; None without such a gate."""
    if (facts.too_large or facts.too_slow) and _is_larger(facts):
        said = f"its process has {facts.memory_mb:,.0f} MB where the other one's has {facts.good_memory_mb:,.0f} MB"
        told = "watch the memory of one process over time: growth is a leak"
        return found(Cause.RESOURCES, said, "", told, detail=CauseDetail.MEMORY)
    slower = facts.latency_ms and facts.good_latency_ms and facts.latency_ms > _SLOWER * facts.good_latency_ms
    if facts.too_slow and slower:
        said = f"the version takes {facts.latency_ms:.0f} ms where the other one takes {facts.good_latency_ms:.0f} ms"
        told = "profile one request of the version on an idle host, and what it waits for"
        return found(Cause.RESOURCES, said, "", told, detail=CauseDetail.SLOW)
    return None


def _is_larger(facts: TriageFacts) -> bool:
    """Whether the version's process has much more memory than the other one's."""
    return bool(facts.memory_mb and facts.good_memory_mb and facts.memory_mb > _LARGER * facts.good_memory_mb)


def _cause_of_harm(facts: TriageFacts, found: _MakeTriage, harm: float) -> Triage:
    """Why the answers of a version are worse than they should be: what is surest comes first."""
    looks = (
        _certain_mistake, _blamed_column, _repaired_column, _moved_inputs, _cause_on_trial, _only_moved_column
    )  # fmt: skip
    for look in looks:
        if (cause := look(facts, found, harm)) is not None:
            return cause
    return _cause_beyond_columns(facts, found, harm)


def _clearly_changed_column(facts: TriageFacts, found: _MakeTriage) -> Triage | None:
    """The column that has changed as only a mistake changes it, and that explains most of the harm there is."""
    clear = [
        (one.gain, name)
        for name, one in facts.shifts.items()
        if one.is_clear and (one.restored is None or one.restored >= _RESTORES)
    ]
    if not clear:
        return None
    gain, name = max(clear)
    one = facts.shifts[name]
    said = f"{name} has {one.detail} ({one.what}), which alone costs {gain:.4g} of loss"
    return found(Cause.FEATURE, said, name, f"ask the owner of {name} what changed", detail=one.detail)


def _blamed_column(facts: TriageFacts, found: _MakeTriage, harm: float) -> Triage | None:
    """The moved column whose values of before take away most of the harm."""
    for name, one in shifted_columns(facts):
        if one.restored is not None and one.restored >= _RESTORES and one.gain >= one.chance:
            gone = f"{one.restored:.0%} of the additional loss of {harm:.4g}"
            said = f"with the values that {name} had before, {gone} is gone ({one.what})"
            return found(Cause.FEATURE, said, name, f"ask the owner of {name} what changed", detail=one.detail)
    return None


def _broken_labels(facts: TriageFacts, found: _MakeTriage) -> Triage | None:
    """Labels that no outcome gives: inverted, of one value, or of other requests."""
    if facts.labels_before is None or facts.labels_after is None:
        return None
    fault, said = find_label_fault(facts.labels_before, facts.labels_after)
    if fault is CauseDetail.NONE:
        return None
    return found(Cause.LABELS, said, "", "compare some labels with their source by hand", detail=fault)


def _repaired_column(facts: TriageFacts, found: _MakeTriage, harm: float) -> Triage | None:
    """The column of which a change, such as another unit, takes away most of the harm."""
    fix = facts.repair
    return None if fix is None or not fix.is_convincing else _name_correction(facts, fix, found, harm)


def _name_correction(facts: TriageFacts, fix: ColumnCorrection, found: _MakeTriage, harm: float) -> Triage:
    """The column of which a change undoes the mistake: in the version on trial, or in the requests of a champion."""
    said = f"with {fix.column} {fix.what}, {fix.restored:.0%} of the additional loss of {harm:.4g} is gone"
    if facts.trial and not facts.came_with_requests:
        told = f"compare what the version makes of {fix.column} with what it was trained on"
        return found(Cause.ENCODING, said, fix.column, told, detail=fix.detail)
    return found(Cause.FEATURE, said, fix.column, f"ask the owner of {fix.column} what changed", detail=fix.detail)


def _moved_inputs(facts: TriageFacts, found: _MakeTriage, harm: float) -> Triage | None:
    """Columns that have moved since a version on trial did as well as the good one."""
    moved = shifted_columns(facts)
    if not facts.came_with_requests or not moved:
        return None
    if (only := _only_moved_column(facts, found, harm)) is not None:
        return only
    named = ", ".join(name for name, _ in moved[:3])
    said = (
        f"on the requests of before it does about as well as the good version; since then {named} moved, and no single"
        f" column explains the additional loss of {harm:.4g}"
    )
    return found(Cause.INPUTS, said, "", "ask the owners of these columns what changed; train on such requests too")


def _certain_mistake(facts: TriageFacts, found: _MakeTriage, harm: float | None = None) -> Triage | None:
    """A column whose values prove a mistake since the onset, such as swapped codes or another time zone."""
    for name, one in shifted_columns(facts):
        if one.is_certain:
            part = harm is not None and one.gain < _RESTORES * harm
            told = f"look for a second cause: this takes away {one.gain:.2g} of the additional loss" if part else ""
            cost = f"which costs about {max(one.gain, 0.0):.2g} of loss"
            said = f"{name} has {one.detail} since the onset ({one.what}), {cost}"
            asked = f"ask the owner of {name} what changed"
            return found(Cause.FEATURE, said, name, asked, *filter(None, [told]), detail=one.detail)
    return None


def _confused_codes(facts: TriageFacts, found: _MakeTriage, _harm: float | None = None) -> Triage | None:
    """Codes that a version on trial takes for each other, by its answers alone: a mistake, whatever it costs."""
    if facts.confused is None:
        return None
    name, share = facts.confused.column, facts.confused.share
    said = (
        f"it answers {facts.confused.what} of {name} as the good version answers the other one of each pair;"
        f" {share:.0%} of the requests have one of them"
    )
    told = f"compare the codes that the version was trained with to those of the requests, in {name}"
    return found(Cause.ENCODING, said, name, told, detail=CauseDetail.CODES)


def _ignored_column(facts: TriageFacts) -> str:
    """The column that the good version's answers react to most, and the version's hardly; empty without one."""
    left_out = [
        (one.good, name)
        for name, one in facts.reactions.items()
        if one.good > _REACTS and one.own * _TIMES_WEAKER < one.good
    ]
    return max(left_out)[1] if left_out else ""


def _answers_of_another_input(facts: TriageFacts, found: _MakeTriage) -> Triage | None:
    """The change of a column with which a version on trial answers as the good one does, though no loss shows it."""
    fix = facts.repair
    if fix is None or not fix.agrees or not facts.trial or _ignored_column(facts):
        return None
    said = f"with {fix.column} {fix.what} its answers come much nearer to those of the good version"
    told = f"compare what the version makes of {fix.column} with what it was trained on"
    return found(Cause.ENCODING, said, fix.column, told, detail=fix.detail)


def _cause_on_trial(facts: TriageFacts, found: _MakeTriage, harm: float) -> Triage | None:
    """What is wrong with a version that is worse than the good one on the same requests."""
    if not facts.trial:
        return None
    late = [
        (one.own, name)
        for name, one in facts.reactions.items()
        if one.commonest >= _CONSTANT and one.own > max(_REACTS, _TIMES_WEAKER * one.good)
    ]
    if late:
        name = max(late)[1]
        one = facts.reactions[name]
        said = (
            f"its answers depend on {name} ({one.own:.0%} of their range), which {one.what} in {one.commonest:.0%} of"
            " the requests: it was known in training, and is not when it is needed"
        )
        told = f"ask when {name} is known, and train without it"
        return found(Cause.TIMING, said, name, told, detail=CauseDetail.LATE)
    if (confused := _confused_codes(facts, found)) is not None:
        return confused
    if name := _ignored_column(facts):
        said = f"its answers do not react to {name}, and those of the good version do"
        told = f"look at what the version makes of {name} before it predicts"
        return found(Cause.ENCODING, said, name, told, detail=CauseDetail.IGNORED)
    if facts.repair is not None and facts.repair.is_likely:
        return _name_correction(facts, facts.repair, found, harm)
    group = facts.group
    if group is not None and group.explained >= _CONCENTRATED:
        said = f"{group.explained:.0%} of its additional loss is where {group.column} {group.what}"
        return found(
            Cause.MODEL, said, group.column, "compare the training rows of this group with those of the others"
        )
    said = f"on the same requests its loss is {harm:.4g} higher than the good version's, and no column explains it"
    return found(Cause.MODEL, said, "", "compare the training data and settings of both versions")


def _only_moved_column(facts: TriageFacts, found: _MakeTriage, harm: float) -> Triage | None:
    """The only column that has moved, where nothing speaks against it."""
    moved = shifted_columns(facts)
    if len(moved) != 1:
        return None
    name, one = moved[0]
    if one.restored is not None and one.restored < _SINGLE_RESTORES:
        return None
    said = f"{name} is the only column that has moved ({one.what}), while the loss rose by {harm:.4g}"
    return found(Cause.FEATURE, said, name, f"ask the owner of {name} what changed", detail=one.detail)


def _cause_beyond_columns(facts: TriageFacts, found: _MakeTriage, harm: float) -> Triage:
    """Why a champion got worse where no single column explains it."""
    moved, suffers = shifted_columns(facts), _good_suffers(facts)
    labels = describe_shifted_labels(facts) if suffers else ""
    if labels and not moved:
        said = f"both versions got worse while the inputs stayed as they were, and {labels}"
        return found(Cause.LABELS, said, "", "ask the owner of the labels what changed")
    if moved and suffers:
        named = ", ".join(name for name, _ in moved[:3])
        said = f"both versions got worse when {named} moved, and no single column explains it"
        return found(Cause.INPUTS, said, "", "ask the owners of these columns; train again on the new data")
    before, after = facts.labels_before, facts.labels_after
    known = before is not None and after is not None and before.own is not None and after.own is not None
    if not moved and (not suffers or known):
        kept = "and both versions suffer" if suffers else "and the good version's is not"
        said = f"its loss is {harm:.4g} {_reference(facts)} on inputs that have not moved, {kept}"
        return found(Cause.RELATION, said, "", "train again on requests after the onset, and compare")
    said = f"its loss is {harm:.4g} too high, and what was measured fits no single cause"
    return found(Cause.UNKNOWN, said, "", *list_missing_facts(facts))


def _reference(facts: TriageFacts) -> str:
    """What the harm of a champion was measured against."""
    own = None if facts.loss_after is None or facts.loss_before is None else facts.loss_after - facts.loss_before
    if own is not None and own > facts.tolerance:
        return "higher than before"
    return "higher than before beside the good version's"


def _good_suffers(facts: TriageFacts) -> bool:
    """Whether the good version got worse at the same time."""
    if facts.good_before is None or facts.good_after is None:
        return False
    return facts.good_after - facts.good_before > facts.tolerance
