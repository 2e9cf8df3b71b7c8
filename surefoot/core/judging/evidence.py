"""Define one class for each type of evidence that a gate is judged on."""

from dataclasses import dataclass
from typing import ClassVar

from surefoot.core.domain import Outcome
from surefoot.core.judging.corner_answers import CornerAnswers, SupplementedGroup
from surefoot.core.judging.data_validation import ValidationResult
from surefoot.core.judging.excluded_records import NOTHING_EXCLUDED, ExcludedRecords


@dataclass(frozen=True, slots=True)
class BadEventStratum:
    """Event counts of both arms under one split.

    Attributes:
        share: Share of units routed to the candidate in this stratum [0 < share < 1].
        candidate_bad: Candidate trials with the bad event [count].
        candidate_good: Candidate trials without it [count].
        champion_bad: Champion trials with the bad event [count].
        champion_good: Champion trials without it [count].
        epoch: Epoch that the trials fell into, from 0; a candidate may break late.
    """

    share: float
    candidate_bad: int
    candidate_good: int
    champion_bad: int
    champion_good: int
    epoch: int = 0

    @property
    def candidate(self) -> int:
        """Candidate trials [count]."""
        return self.candidate_bad + self.candidate_good

    @property
    def champion(self) -> int:
        """Champion trials [count]."""
        return self.champion_bad + self.champion_good


@dataclass(frozen=True, slots=True)
class BadEventCounts:
    """Bad events of both arms over every stratum of a rollout.

    Attributes:
        strata: One per split that was in force, and epoch.
        baseline: The champion's rate before the rollout [probability], or None when unknown.
        trial: What one trial is, for people: "request" or "unit".
        recent: Requests of both arms since the step began [count].
        history: Trials behind `baseline` [count].
        left: What was not counted as it came.
        kept: Digest of the file that says which kept counts these were added up from; empty without one.
    """

    JOURNAL_NAME: ClassVar[str] = "SplitCounts"

    strata: tuple[BadEventStratum, ...]
    baseline: float | None = None
    trial: str = "request"
    recent: int = 0
    history: int = 0
    left: ExcludedRecords = NOTHING_EXCLUDED
    kept: str = ""


BucketCounts = tuple[tuple[int, int], ...]
"""A log-bucket histogram: (bucket, values in it), in order of the buckets."""


@dataclass(frozen=True, slots=True)
class MeasurementStratum:
    """A positive measurement of both arms under one split.

    Attributes:
        share: Share of units routed to the candidate [0 < share <= 1].
        candidate: Histogram of the candidate.
        champion: Histogram of the champion.
        epoch: Epoch, from 0.
    """

    share: float
    candidate: BucketCounts
    champion: BucketCounts
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class MeasurementCounts:
    """A positive measurement of every request, such as its latency, as log-bucket histograms.

    Attributes:
        strata: One per split that was in force, and epoch.
        baseline: Histogram of the champion before the rollout.
        unit: Unit of the measurement, for people.
        recent: Requests of both arms since the step began [count].
        trial: What one trial is, for people: "request" or "unit"; of a unit one request is measured.
        left: What was not counted as it came.
    """

    JOURNAL_NAME: ClassVar[str] = "SpeedCounts"

    strata: tuple[MeasurementStratum, ...]
    baseline: BucketCounts
    unit: str = "ms"
    recent: int = 0
    trial: str = "request"
    left: ExcludedRecords = NOTHING_EXCLUDED


@dataclass(frozen=True, slots=True)
class ValueStratum:
    """A bounded value of both arms under one split, as counts of its 65 levels.

    Attributes:
        share: Share of units routed to the candidate [0 < share < 1].
        candidate: Trials of the candidate at each level [count].
        champion: Trials of the champion at each level [count].
        epoch: Epoch, from 0.
    """

    share: float
    candidate: tuple[int, ...]
    champion: tuple[int, ...]
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class ValueCounts:
    """A bounded value of every trial, such as its revenue up to a cap.

    Attributes:
        strata: One per split that was in force, and epoch.
        center: The champion's mean before the rollout, as a share of the cap [0 to 1], or None when unknown.
        trial: What one trial is, for people: "request" or "unit".
        recent: Requests of both arms since the step began [count].
        left: What was not counted as it came.
    """

    strata: tuple[ValueStratum, ...]
    center: float | None = None
    trial: str = "request"
    recent: int = 0
    left: ExcludedRecords = NOTHING_EXCLUDED


@dataclass(frozen=True, slots=True)
class GaugeComparisons:
    """Blocks of time in which both versions showed a gauge, such as the memory of their processes.

    Attributes:
        above: Blocks in which the candidate's highest value is above the champion's and its margin [count].
        below: Blocks in which it is not [count].
        highest: Highest value of the candidate [unit of the gauge].
        beside: Highest value of the champion [unit of the gauge].
        recent: Requests of both arms since the step began [count].
        left: What was not counted as it came.
    """

    JOURNAL_NAME: ClassVar[str] = "GaugeCounts"

    above: int
    below: int
    highest: float = 0.0
    beside: float = 0.0
    recent: int = 0
    left: ExcludedRecords = NOTHING_EXCLUDED


ServedCounts = BadEventCounts | MeasurementCounts | ValueCounts
"""What is counted on served traffic."""


@dataclass(frozen=True, slots=True)
class SlicedCounts:
    """Counts of served traffic by slice.

    Attributes:
        slices: One for each slice that was seen in the rollout or before it, for example "origin=LGA".
        recent: Requests of both arms since the step began [count].
        left: What was not counted as it came.
    """

    JOURNAL_NAME: ClassVar[str] = "Sliced"

    slices: dict[str, ServedCounts]
    recent: int = 0
    left: ExcludedRecords = NOTHING_EXCLUDED


MILLIONTHS_PER_UNIT = 1_000_000
"""Sums of losses and scores are kept in millionths: integers add up to the same in any order."""


@dataclass(frozen=True, slots=True)
class PairedBlock:
    """What both versions made of the same requests of one block of time.

    Attributes:
        key: The block, for example "2013-06-24".
        n: Requests that both answered and whose label has matured [count].
        champion: Sums over the champion's answers; what they count depends on the metric.
        candidate: The same over the candidate's.
    """

    key: str
    n: int
    champion: tuple[int, ...]
    candidate: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PairedSums:
    """Sums by block over the same requests, for all of them and for each slice.

    A loss is one sum in millionths; a confusion four counts (hits, false alarms, misses, correct rejections); a
    distribution of scores BINS counts, BINS positives and BINS sums of scores in millionths.

    Attributes:
        slices: Blocks by slice, for example "origin=LGA"; all requests together under "".
        requests: Requests of complete blocks whose label should have matured [count].
        labelled: Those among them that have a label [count].
        unscored: Requests that the candidate could not answer [count].
        compared: Requests whose two answers were compared [count].
        same: Those among them on which both gave the same answer [count].
        late: Labels that came after their request's maturity, and did not count [count].
        corrected: Labels that a later one replaced within maturity [count].
        unknown: Labels of requests that were never logged [count].
        coarse: How many millionths one unit of the sums is, where millionths would not fit the journal [>= 1].
        left: What was not counted as it came.
        kept: Digest of the file that says which kept sums these were added up from; empty without one.
        raised: Groups that older requests were added to.
    """

    slices: dict[str, tuple[PairedBlock, ...]]
    requests: int
    labelled: int
    unscored: int = 0
    compared: int = 0
    same: int = 0
    late: int = 0
    corrected: int = 0
    unknown: int = 0
    coarse: int = 1
    left: ExcludedRecords = NOTHING_EXCLUDED
    kept: str = ""
    raised: tuple[SupplementedGroup, ...] = ()


@dataclass(frozen=True, slots=True)
class ScoreBins:
    """Scores of the past with their labels, and of now without: what the past says about now.

    Attributes:
        past: Labelled requests by score bin: (requests, positives, sum of scores in millionths).
        checked: A later window whose labels are known by now, in the same form.
        now: Requests whose labels are not in yet: (requests, 0, sum of scores in millionths).
        left: What was not counted as it came.
    """

    past: tuple[tuple[int, int, int], ...]
    checked: tuple[tuple[int, int, int], ...]
    now: tuple[tuple[int, int, int], ...]
    left: ExcludedRecords = NOTHING_EXCLUDED


@dataclass(frozen=True, slots=True)
class AnswerShapes:
    """What the answers of both versions look like, such as "a list of 2 numbers".

    Attributes:
        champion: Different shapes of the champion's answers.
        candidate: Different shapes of the candidate's answers, as far as it could answer.
        requests: Requests that the champion answered and the candidate was asked [count].
        answered: Those among them that the candidate could answer [count].
        declared: Outputs in the signatures of champion and candidate; empty where one has none.
        left: What was not counted as it came.
    """

    champion: tuple[str, ...]
    candidate: tuple[str, ...]
    requests: int
    answered: int
    declared: tuple[str, ...] = ()
    left: ExcludedRecords = NOTHING_EXCLUDED


@dataclass(frozen=True, slots=True)
class GoldenRows:
    """Answers to the rows that a version carries with it, against the answers that its author saw.

    Attributes:
        rows: Rows that it carries [count].
        wrong: Rows that it answers otherwise, or not at all [count].
        worst: Largest difference between two numbers.
        samples: Up to five rows that are wrong; JSON values only.
    """

    rows: int
    wrong: int
    worst: float = 0.0
    samples: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class FeatureShift:
    """How far one feature of the requests has moved.

    Attributes:
        name: The feature.
        distance: Kolmogorov-Smirnov distance (numbers), total variation (categories), or the share of requests on
            which two versions see different values [0 to 1].
        reference: Rows of the reference [count].
        current: Rows now [count].
        categories: Different values that were seen when it is not a number, otherwise 0 [count].
    """

    name: str
    distance: float
    reference: int
    current: int
    categories: int = 0


@dataclass(frozen=True, slots=True)
class DistributionShift:
    """Shift of every feature against a reference.

    Attributes:
        against: What is compared with, for people.
        features: One each.
        same: Whether both sides are the same requests, row by row.
        blind: Whether both versions are fed the row as it came, so that what they make of it inside is not seen.
        left: What was not counted as it came.
    """

    JOURNAL_NAME: ClassVar[str] = "InputShift"

    against: str
    features: tuple[FeatureShift, ...]
    same: bool = False
    blind: bool = False
    left: ExcludedRecords = NOTHING_EXCLUDED


@dataclass(frozen=True, slots=True)
class MissingEvidence:
    """Evidence that could not be had; never taken for a pass or a fail.

    Attributes:
        outcome: NO_DATA, STALE or ERROR.
        reason: Why, in one sentence.
    """

    JOURNAL_NAME: ClassVar[str] = "Missing"

    outcome: Outcome
    reason: str


Evidence = (
    BadEventCounts
    | MeasurementCounts
    | ValueCounts
    | SlicedCounts
    | GaugeComparisons
    | PairedSums
    | ScoreBins
    | DistributionShift
    | GoldenRows
    | CornerAnswers
    | AnswerShapes
    | ValidationResult
    | MissingEvidence
)
