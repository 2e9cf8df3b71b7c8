"""Define shared value types: versions, stages, evidence, traffic splits, verdicts and their figures."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """What a gate answers; only PASS advances a rollout."""

    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    NO_DATA = "NO_DATA"
    STALE = "STALE"
    ERROR = "ERROR"
    BASELINE_UNHEALTHY = "BASELINE_UNHEALTHY"

    @classmethod
    def _missing_(cls, value: object) -> "Outcome | None":
        """Read the name that release 0.1.0 journalled."""
        return cls.BASELINE_UNHEALTHY if value == "BOTH_SICK" else None


class Role(StrEnum):
    """What a failing gate does: a guardrail rolls back, a signal pauses."""

    GUARDRAIL = "guardrail"
    SIGNAL = "signal"


class RolloutKind(StrEnum):
    """What a rollout does: move a candidate forward, or take a promoted version back."""

    PROMOTION = "promotion"
    ROLLBACK = "rollback"


class EvidenceKind(StrEnum):
    """Where evidence comes from: validation, replay, mirrored requests, both arms, or the candidate that serves all."""

    DATA = "data"
    SHADOW = "shadow"
    LIVE_SHADOW = "live_shadow"
    LIVE = "live"
    BAKE = "bake"


class Arm(StrEnum):
    """Which of the two versions a request was assigned to."""

    CHAMPION = "champion"
    CANDIDATE = "candidate"


class Stage(StrEnum):
    """Where a rollout stands; the members after BAKING are terminal."""

    SUBMITTED = "Submitted"
    VALIDATING = "Validating"
    SHADOWING = "Shadowing"
    LIVE_SHADOWING = "LiveShadowing"
    RAMPING = "Ramping"
    AWAITING_APPROVAL = "AwaitingApproval"
    HOLDING = "Holding"
    PROMOTING = "Promoting"
    BAKING = "Baking"
    PROMOTED = "Promoted"
    FAST_PROMOTED = "FastPromoted"
    REJECTED = "Rejected"
    ABORTED = "Aborted"
    ROLLED_BACK = "RolledBack"
    FAST_ROLLED_BACK = "FastRolledBack"
    SUPERSEDED = "Superseded"
    WITHDRAWN = "Withdrawn"

    @property
    def is_terminal(self) -> bool:
        """Whether a rollout in this stage is over."""
        return self in TERMINAL_STAGES

    @property
    def is_before_traffic(self) -> bool:
        """Whether no caller has had an answer of the candidate yet."""
        return self in STAGES_BEFORE_TRAFFIC


STAGES_BEFORE_TRAFFIC = frozenset({Stage.SUBMITTED, Stage.VALIDATING, Stage.SHADOWING, Stage.LIVE_SHADOWING})

TERMINAL_STAGES = frozenset(
    {
        Stage.PROMOTED,
        Stage.FAST_PROMOTED,
        Stage.REJECTED,
        Stage.ABORTED,
        Stage.ROLLED_BACK,
        Stage.FAST_ROLLED_BACK,
        Stage.SUPERSEDED,
        Stage.WITHDRAWN,
    }
)

PROMOTED_STAGES = frozenset({Stage.PROMOTED, Stage.FAST_PROMOTED})
"""Ends after which the candidate serves on."""


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable model version, identified by its bytes and not by its number alone.

    Attributes:
        number: The registry's version number.
        digest: SHA-256 of the whole artifact tree, "sha256:" and 64 hex digits.
        data_digest: SHA-256 of the training data as its owner tagged it; empty when untagged.
    """

    number: str
    digest: str
    data_digest: str = ""


@dataclass(frozen=True, slots=True)
class Split:
    """Who answers which share of the requests; what the gateway must be doing.

    Attributes:
        champion: The version that answers everything else and whatever the candidate cannot.
        candidate: The version under rollout, or None.
        weight: Share of units assigned to the candidate [percent, 0 to 100].
        salt: Salt of the assignment, derived from the installation's secret; the same for every step of a rollout.
        rollout: Id of the rollout that asked for this split; empty outside one.
        generation: Journal sequence of the intent; a gateway never goes back to a lower one.
        mirror: Share of requests that the candidate is asked as well, unseen by callers [percent, 0 to 100].
        units: Canonical texts of units that are assigned to the candidate whatever their hash, while the weight is
            above 0.
    """

    champion: Version
    candidate: Version | None = None
    weight: float = 0.0
    salt: str = ""
    rollout: str = ""
    generation: int = 0
    mirror: float = 0.0
    units: tuple[str, ...] = ()

    @property
    def is_live_drill(self) -> bool:
        """Whether one version is in both arms, as in a live drill only: no rollout has equal bytes in its arms."""
        return self.candidate is not None and self.candidate.digest == self.champion.digest

    def lists(self, unit: str | None) -> bool:
        """Whether a unit is assigned to the candidate because it is listed."""
        return bool(self.units and self.weight) and self.candidate is not None and unit in self.units

    def weight_of(self, unit: str | None) -> float:
        """Share of the units like this one that are assigned to the candidate [percent]: 100 for one that is listed."""
        return 100.0 if self.lists(unit) else self.weight

    def routes_same_as(self, other: "Split | None") -> bool:
        """Whether both send every unit to the same version, whatever their generation."""
        return other is not None and (
            self.champion.digest,
            self.champion.number,
            self.candidate,
            self.weight,
            self.salt,
            self.mirror,
            self.units,
        ) == (
            other.champion.digest,
            other.champion.number,
            other.candidate,
            other.weight,
            other.salt,
            other.mirror,
            other.units,
        )


@dataclass(frozen=True, slots=True)
class LogPolicy:
    """What of the requests' features stays in the prediction log.

    Attributes:
        hashed: Columns of which a keyed digest is kept instead of the value.
        dropped: Columns of which nothing is kept.
        share: Share of the requests whose features are kept at all [percent].
        encrypted: Columns whose values are kept encrypted.
        key_variable: Environment variable of their keys; empty where a file has them.
        key_file: File of their keys; empty where a variable has them.
    """

    hashed: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    share: float = 100.0
    encrypted: tuple[str, ...] = ()
    key_variable: str = ""
    key_file: str = ""


class FailoverLevel(StrEnum):
    """What answers a request that the champion fails: the last proven-good version, then the policy's fallback."""

    PROVEN_GOOD = "proven_good"
    FALLBACK = "fallback"


class FigureKind(StrEnum):
    """What a number of a verdict measures; the value is the label that people read."""

    CANDIDATE_RATE = "candidate rate"
    CHAMPION_RATE = "champion rate"
    CANDIDATE_MEAN = "candidate mean"
    CHAMPION_MEAN = "champion mean"
    CANDIDATE_QUANTILE = "candidate quantile"
    CHAMPION_QUANTILE = "champion quantile"
    CANDIDATE_LOSS = "candidate loss"
    CHAMPION_LOSS = "champion loss"
    CANDIDATE_WRONG = "candidate wrong"
    CHAMPION_WRONG = "champion wrong"
    CANDIDATE_HIGHEST = "candidate highest"
    CHAMPION_HIGHEST = "champion highest"
    CANDIDATE_TRIALS = "candidate trials"
    BURN_RATE = "burn rate"
    ONLY_CANDIDATE_WRONG = "only the candidate wrong"
    ONLY_CHAMPION_WRONG = "only the champion wrong"
    BLOCKS_ABOVE = "blocks above"
    BLOCKS = "blocks"
    AGREEMENT = "agreement"
    LABEL_COVERAGE = "label coverage"
    UNANSWERED = "unanswered by the candidate"
    LATE_LABELS = "labels after maturity"
    CORRECTED_LABELS = "labels corrected"
    UNKNOWN_LABELS = "labels of unknown requests"
    EXPECTATIONS = "expectations"
    FAILED = "failed"
    WARNINGS = "warnings"
    REQUESTS = "requests"
    ANSWERED = "answered"
    GOLDEN_ROWS = "golden rows"
    GOLDEN_MISMATCHES = "answered otherwise"
    CORNERS = "corners"
    CORNER_ROWS = "synthetic rows"
    CORNER_BREAKS = "breaks of the candidate alone"
    CORNER_BREAKS_OF_BOTH = "breaks of both"
    LARGEST_DIFFERENCE = "largest difference"
    PAST_ERROR = "past error of this estimate"
    PAST_LOSS = "loss before"
    HARM = "log evidence of harm"
    HARM_NEEDED = "log evidence of harm that fails"
    SAFETY = "log evidence of safety"
    SAFETY_NEEDED = "log evidence of safety that passes"
    WRONG_SPLIT = "log evidence of a wrong split"
    EQUAL_PASSES_FROM = "an equal candidate passes from"
    EQUAL_PASSES_BY = "an equal candidate passes by"
    EQUAL_PASSES_SEEN = "counted towards that until now"
    OTHER = "other"


_QUANTILE = re.compile(r"(candidate|champion) p[0-9.]+")
_LABELS = {kind.value: kind for kind in FigureKind} | {
    "stretches above": FigureKind.BLOCKS_ABOVE,
    "stretches": FigureKind.BLOCKS,
}
"""Kind by label; the labels of release 0.1.0 that have changed since are among them."""


@dataclass(frozen=True, slots=True)
class VerdictFigure:
    """One number of a verdict.

    Attributes:
        kind: What it measures; code finds figures by it.
        value: Finite number; an absent number is an absent figure, never NaN.
        unit: For example "share", "ms", "Brier".
        name: The label that people read, for example "candidate p99"; that of its kind when empty.
    """

    kind: FigureKind
    value: float
    unit: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        """Take the label of the kind where none is given."""
        if not self.name:
            object.__setattr__(self, "name", self.kind.value)

    @staticmethod
    def from_older_format(data: Mapping[str, object]) -> Mapping[str, object]:
        """Journal fields of a figure as this release writes them; release 0.1.0 wrote the label and no kind."""
        if "kind" in data:
            return data
        name = str(data["name"])
        quantile = _QUANTILE.fullmatch(name)
        kind = FigureKind(f"{quantile[1]} quantile") if quantile else _LABELS.get(name, FigureKind.OTHER)
        return {**data, "kind": kind.value}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate answered, with the numbers and one sentence of reason.

    Attributes:
        gate: Name of the gate in the policy.
        metric: What it measured.
        outcome: What it answered.
        role: Guardrail or signal.
        reason: One sentence that a person understands.
        n: Observations the verdict rests on [count].
        estimate: Point estimate on the gate's scale, or None when there is none.
        lower: Lower end of the interval, or None.
        upper: Upper end of the interval, or None.
        margin: Largest degradation that the owner accepts, on the same scale, or None.
        unit: Unit of estimate, lower, upper and margin.
        culprit: The slice, feature or expectation to blame; empty when none.
        figures: Further numbers.
        details: Rows to show a person (failed expectations, slices); JSON values only.
    """

    gate: str
    metric: str
    outcome: Outcome
    role: Role
    reason: str
    n: int = 0
    estimate: float | None = None
    lower: float | None = None
    upper: float | None = None
    margin: float | None = None
    unit: str = ""
    culprit: str = ""
    figures: tuple[VerdictFigure, ...] = ()
    details: tuple[dict[str, object], ...] = field(default=())


@dataclass(frozen=True, slots=True)
class RegistryView:
    """What the registry holds of one registered model: aliases, stages, and statuses of versions.

    Attributes:
        exists: Whether it is there under this name.
        aliases: Version numbers by alias.
        stages: The stage of each version by its number; every version is in it.
        statuses: The status of each version by its number, for example "READY".
        data_digests: Tag `surefoot.data_digest` of each version that has it, by its number.
    """

    exists: bool
    aliases: Mapping[str, str] = field(default_factory=dict)
    stages: Mapping[str, str] = field(default_factory=dict)
    statuses: Mapping[str, str] = field(default_factory=dict)
    data_digests: Mapping[str, str] = field(default_factory=dict)

    def similar_alias(self, wanted: str) -> str:
        """An alias that is spelt almost like the wanted one, as a clause; empty when there is none."""
        if wanted in self.aliases:
            return ""
        close = [name for name in self.aliases if name.lower().strip("-_") == wanted]
        if not close:
            return ""
        return f"there is an alias '{close[0]}' on version {self.aliases[close[0]]}, but the name is '{wanted}'"
