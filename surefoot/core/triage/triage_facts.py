"""Define the facts that are measured to decide an incident's cause."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

_FAILS = 0.005
"""More failures than this above the other version's are worth a cause [fraction]."""
_UNIT_REPAIRS = 0.8
"""Share of the additional loss that another unit of a whole column takes away at least [fraction]."""
_REPAIRS = 0.3
"""The same of swapped codes, of which perhaps not all are found, and of shifted hours [fraction]."""
_CAME_LATER = 0.8
"""Harm came with the requests when so much of it was not there on the requests of before [fraction]."""


class CauseDetail(StrEnum):
    """What is wrong with a column, a resource or the labels; the value is what people read."""

    NONE = ""
    UNIT = "another unit"
    FROZEN = "one value that stays"
    CODES = "swapped codes"
    NEW_CODES = "codes that no request had before"
    HOURS = "shifted hours"
    MISSING = "missing values"
    SLOW = "slow answers"
    MEMORY = "memory"
    PROCESS = "processes that end"
    LATE = "known too late"
    IGNORED = "without effect on the answers"
    INVERTED = "inverted labels"
    CONSTANT = "labels of one value"
    UNRELATED = "labels of other requests"


@dataclass(frozen=True, slots=True)
class ColumnShift:
    """How far a column's values after the onset are from those before it.

    Attributes:
        distance: Largest difference of the two distributions, 0 to 1.
        noise: Largest difference that chance alone makes in one of a hundred such comparisons.
        what: The change in words, such as "median 1013.1 -> 101310".
        restored: Share of the additional loss that is gone when the column has its values of before [fraction];
            None where it was not tried.
        detail: How the values have changed, where that is clear.
        gain: Mean loss that is gone with the values of before, or that those of now add to the requests of before.
        chance: Largest such gain that chance makes.
        swapped: Each code that came with another one's requests, with that other one.
        is_certain: Whether the values themselves prove a mistake, whatever loss it costs.
    """

    distance: float
    noise: float
    what: str
    restored: float | None = None
    detail: CauseDetail = CauseDetail.NONE
    gain: float = 0.0
    chance: float = 0.0
    swapped: Mapping[str, str] = field(default_factory=dict)
    is_certain: bool = False

    @property
    def is_clear(self) -> bool:
        """Whether the values have changed as only a mistake changes them, and that costs loss beyond chance."""
        return self.distance > self.noise and self.detail is not CauseDetail.NONE and self.gain > self.chance


@dataclass(frozen=True, slots=True)
class FailureCondition:
    """A property of the requests that is correlated with failures.

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
class ColumnReaction:
    """How the answers of both versions react to a column of the requests.

    Attributes:
        own: Mean change of the version's answers when the column gets other values [share of their range].
        good: The same of the good version.
        commonest: Share of the requests that have the most frequent value [fraction].
        what: That value in words, such as "is missing".
    """

    own: float
    good: float
    commonest: float
    what: str


@dataclass(frozen=True, slots=True)
class ColumnCorrection:
    """A change of one column after which the version answers as well as the good one.

    Attributes:
        column: Name of the column.
        what: The change in words, such as "multiplied by 100".
        restored: Share of the additional loss that is gone [fraction].
        detail: What the version has wrong.
        gain: Mean loss that is gone with it.
        chance: Largest such gain that chance makes.
        agrees: Whether the version answers much more as the good version does with it, beyond chance.
    """

    column: str
    what: str
    restored: float
    detail: CauseDetail
    gain: float = 0.0
    chance: float = 0.0
    agrees: bool = False

    @property
    def is_convincing(self) -> bool:
        """Whether the change undoes a mistake: beyond chance, and so much that a worse model is no explanation.

        A worse model may well be a little better with other numbers; it is not with other codes.
        """
        enough = _UNIT_REPAIRS if self.detail is CauseDetail.UNIT else _REPAIRS
        return self.restored >= enough and self.gain > self.chance

    @property
    def is_likely(self) -> bool:
        """Whether the answers show that the change undoes a mistake, though the loss may not show it beyond chance."""
        return self.agrees and self.restored >= _REPAIRS


@dataclass(frozen=True, slots=True)
class ConfusedCodes:
    """Category codes of a column that a version confuses, as a comparison with the good version's answers shows.

    Attributes:
        column: Name of the column.
        what: The codes in words, such as "AA and UA, B6 and DL".
        share: Share of the requests that have one of them [fraction].
    """

    column: str
    what: str
    share: float


@dataclass(frozen=True, slots=True)
class LabelFacts:
    """The number of distinct labels, and the rank correlation of each version's answers with the labels.

    Attributes:
        own: Rank correlation of the version's answers with the labels, -1 to 1; None where it cannot be computed.
        good: The same of the good version.
        values: Different labels [count].
        noise: Largest rank correlation that chance makes of so many labels.
    """

    own: float | None
    good: float | None
    values: int
    noise: float = 0.0


@dataclass(frozen=True, slots=True)
class TriageFacts:
    """What was measured around the onset; what was not measured is None or empty.

    Attributes:
        artifact_problem: Why the version's bytes are not those of its digest; empty where they are.
        too_slow: Whether a gate of latency or resources has decided.
        too_large: Whether it was a gate of memory.
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
        against_good: By how much the version's mean loss beside the good version's, on the same requests, is higher
            than before the onset; None where it is not known.
        against_tolerance: Such a change that chance explains.
        label_before: Mean label before the onset; None where labels are no numbers.
        label_after: The same after it.
        label_tolerance: Change of the mean label that chance explains.
        shifts: How far each column has moved, by column; columns of the calendar are left out.
        latency_ms: 95th percentile of the version's latency after the onset [ms].
        good_latency_ms: The same of the other version.
        memory_mb: 95th percentile of its process's memory after the onset [MB]; None where it was not logged.
        good_memory_mb: The same of the other version.
        reactions: How answers react to each column, by column; only of a version on trial.
        repair: The change of a column that restores the version's loss; None without one.
        confused: The codes that the version takes for each other; None without any.
        group: The group of requests that has most of the additional loss; None without one.
        labels_before: Labels before the onset; None where they are not known.
        labels_after: The same after it.
        problems: What could not be measured, and why.
    """

    artifact_problem: str = ""
    too_slow: bool = False
    too_large: bool = False
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
    against_good: float | None = None
    against_tolerance: float = 0.0
    label_before: float | None = None
    label_after: float | None = None
    label_tolerance: float = 0.0
    shifts: Mapping[str, ColumnShift] = field(default_factory=dict)
    latency_ms: float | None = None
    good_latency_ms: float | None = None
    memory_mb: float | None = None
    good_memory_mb: float | None = None
    reactions: Mapping[str, ColumnReaction] = field(default_factory=dict)
    repair: ColumnCorrection | None = None
    confused: ConfusedCodes | None = None
    group: FailureCondition | None = None
    labels_before: LabelFacts | None = None
    labels_after: LabelFacts | None = None
    problems: tuple[str, ...] = ()

    @property
    def fails_more(self) -> bool:
        """Whether the version fails so many more requests than the other one that this is what is to be explained."""
        return bool(self.asked) and self.failed / self.asked - self.good_failed > _FAILS

    @property
    def harm(self) -> float | None:
        """By how much the version's mean loss is too high after the onset; None where it is not, or not known.

        A version on trial is held against the good one, a champion against itself before. Where other outcomes hide
        what a champion has lost, such as fewer late flights, the good version on the same requests still shows it.
        """
        if self.loss_after is None:
            return None
        other = self.good_after if self.trial else self.loss_before
        if other is not None and self.loss_after - other > self.tolerance:
            return self.loss_after - other
        return self.against_good if self.is_worse_against_good else None

    @property
    def came_with_requests(self) -> bool:
        """Whether a version on trial does about as well as the good one on the requests of before, but not on these.

        What is wrong with a version shows on the requests of any time, so the requests have changed.
        """
        harm, rise = self.harm, self.against_good
        if not self.trial or harm is None or rise is None:
            return False
        return rise > self.against_tolerance and rise >= _CAME_LATER * harm

    @property
    def is_worse_against_good(self) -> bool:
        """Whether a champion has lost more since the onset than the good version has on the same requests."""
        return not self.trial and self.against_good is not None and self.against_good > self.against_tolerance
