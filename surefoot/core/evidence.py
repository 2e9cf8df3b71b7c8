"""What was measured, as plain values: the only thing a gate is judged on."""

from dataclasses import dataclass, field

from surefoot.core.model import Outcome, Version
from surefoot.core.policy import Gate


@dataclass(frozen=True, slots=True)
class Stratum:
    """Event counts of both arms under one split.

    Attributes:
        share: Share of units routed to the candidate in this stratum [0 < share < 1].
        candidate_bad: Candidate trials with the bad event [count].
        candidate_good: Candidate trials without it [count].
        champion_bad: Champion trials with the bad event [count].
        champion_good: Champion trials without it [count].
    """

    share: float
    candidate_bad: int
    candidate_good: int
    champion_bad: int
    champion_good: int

    @property
    def candidate(self) -> int:
        """Candidate trials [count]."""
        return self.candidate_bad + self.candidate_good

    @property
    def champion(self) -> int:
        """Champion trials [count]."""
        return self.champion_bad + self.champion_good


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """Bad events of both arms over every stratum of a rollout.

    Attributes:
        strata: One per split that was in force.
        baseline: The champion's rate before the rollout [probability], or None when unknown.
        trial: What one trial is, for people: "request" or "unit".
        recent: Requests of both arms since the step began [count].
    """

    strata: tuple[Stratum, ...]
    baseline: float | None = None
    trial: str = "request"
    recent: int = 0


@dataclass(frozen=True, slots=True)
class LatencyCounts:
    """Requests slower than the champion's own frozen quantile.

    Attributes:
        threshold_ms: The champion's quantile, frozen when the rollout opened [ms].
        same: Both arms counted against the threshold.
        stretched: Candidate counted against the threshold stretched by the margin, champion
            against the threshold itself; keyed by the stretch factor [>= 1].
        candidate_ms: The candidate's own quantile now [ms], or None.
        champion_ms: The champion's own quantile now [ms], or None.
        recent: Requests of both arms since the step began [count].
    """

    threshold_ms: float
    same: tuple[Stratum, ...]
    stretched: dict[float, tuple[Stratum, ...]]
    candidate_ms: float | None = None
    champion_ms: float | None = None
    recent: int = 0


@dataclass(frozen=True, slots=True)
class Block:
    """Losses of both versions on the same requests of one block of time.

    Attributes:
        key: The block, for example "2013-06-24".
        n: Requests that both answered and whose label has matured [count].
        champion: Sum of the champion's losses.
        candidate: Sum of the candidate's losses.
    """

    key: str
    n: int
    champion: float
    candidate: float


@dataclass(frozen=True, slots=True)
class PairedLosses:
    """Losses by block, for all requests and for each slice.

    Attributes:
        slices: Blocks by slice, for example "origin=LGA"; all requests together under "".
        requests: Requests whose label should have matured [count].
        labelled: Those among them that have a label [count].
        unscored: Requests that the candidate could not answer [count].
        agreement: Share of requests on which both gave the same answer, or None.
    """

    slices: dict[str, tuple[Block, ...]]
    requests: int
    labelled: int
    unscored: int = 0
    agreement: float | None = None


@dataclass(frozen=True, slots=True)
class FeatureShift:
    """How far one feature of the requests has moved.

    Attributes:
        name: The feature.
        distance: Kolmogorov-Smirnov distance (numbers) or total variation (categories) [0 to 1].
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
class InputShift:
    """Shift of every feature against a reference."""

    against: str
    features: tuple[FeatureShift, ...]


@dataclass(frozen=True, slots=True)
class Expectation:
    """One expectation that did not hold, with rows to look at.

    Attributes:
        kind: The expectation's type, for example "expect_column_values_to_be_between".
        column: The column it speaks of; empty for the whole table.
        reason: What was observed against what was expected.
        samples: Up to a handful of offending rows or values.
    """

    kind: str
    column: str
    reason: str
    samples: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Validation:
    """The answer of a data validation suite.

    Attributes:
        suite: Name of the suite.
        rows: Rows that were validated [count].
        evaluated: Expectations that gave an answer [count].
        failed: Those that did not hold.
        warnings: Those that did not hold but whose severity does not block.
        report: Path of the self-contained report; empty when none was written.
    """

    suite: str
    rows: int
    evaluated: int
    failed: tuple[Expectation, ...]
    warnings: tuple[Expectation, ...] = ()
    report: str = ""


@dataclass(frozen=True, slots=True)
class Missing:
    """Evidence that could not be had; never taken for a pass or a fail.

    Attributes:
        outcome: NO_DATA, STALE or ERROR.
        reason: Why, in one sentence.
    """

    outcome: Outcome
    reason: str


Evidence = SplitCounts | LatencyCounts | PairedLosses | InputShift | Validation | Missing


@dataclass(frozen=True, slots=True)
class Question:
    """What evidence is asked for.

    Attributes:
        model: Registered model.
        gate: The gate that asks.
        kind: "data" (validation), "shadow" (replay), "live" (both arms serve) or "bake" (the candidate serves all).
        suite: SHA-256 of the expectation suite as it was when the rollout opened.
        rollout: Id of the rollout.
        champion: The version served today.
        candidate: The version on trial.
        since: Start of the window [Unix seconds].
        until: End of the window, which is now [Unix seconds].
        opened: When the rollout opened; live evidence reaches back to it [Unix seconds].
        stretches: Stretch factors that a latency gate wants counted [>= 1].
    """

    model: str
    gate: Gate
    kind: str
    suite: str
    rollout: str
    champion: Version
    candidate: Version
    since: float
    until: float
    opened: float
    stretches: tuple[float, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One expectation as a person reads it, whether it held or not.

    Attributes:
        kind: The expectation's type.
        column: The column it speaks of; empty for the whole table.
        severity: "critical" blocks a promotion, "warning" and "info" do not.
        held: Whether it held.
        reason: What was demanded when it held, what was found instead when it did not.
        samples: Up to five offending rows: the row's number and the values at fault; JSON values only.
    """

    kind: str
    column: str
    severity: str
    held: bool
    reason: str
    samples: tuple[dict[str, object], ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a page about one data validation shows.

    Attributes:
        suite: Name of the suite.
        rows: Rows that were validated [count].
        checked_at: When, as text for people; empty when unknown.
        expectations: One row an expectation, in the order of the suite.
    """

    suite: str
    rows: int
    checked_at: str
    expectations: tuple[ReportRow, ...]
