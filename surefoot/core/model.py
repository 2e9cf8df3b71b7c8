"""The values that the rest of the house passes around."""

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
    BOTH_SICK = "BOTH_SICK"


class Role(StrEnum):
    """What a failing gate does: a guardrail rolls back, a signal pauses."""

    GUARDRAIL = "guardrail"
    SIGNAL = "signal"


class Arm(StrEnum):
    """Which of the two versions a request was assigned to."""

    CHAMPION = "champion"
    CANDIDATE = "candidate"


class Stage(StrEnum):
    """Where a rollout stands; the members after BAKING are sinks."""

    SUBMITTED = "Submitted"
    VALIDATING = "Validating"
    SHADOWING = "Shadowing"
    RAMPING = "Ramping"
    AWAITING_APPROVAL = "AwaitingApproval"
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
    def is_sink(self) -> bool:
        """Whether a rollout in this stage is over."""
        return self in SINKS


SINKS = frozenset(
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
    """

    champion: Version
    candidate: Version | None = None
    weight: float = 0.0
    salt: str = ""
    rollout: str = ""
    generation: int = 0
    mirror: float = 0.0

    def same_routing(self, other: "Split | None") -> bool:
        """Whether both send every unit to the same version, whatever their generation."""
        return other is not None and (
            self.champion.digest,
            self.champion.number,
            self.candidate,
            self.weight,
            self.salt,
            self.mirror,
        ) == (
            other.champion.digest,
            other.champion.number,
            other.candidate,
            other.weight,
            other.salt,
            other.mirror,
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """What of the requests' features stays in the prediction log.

    Attributes:
        hashed: Columns of which a keyed digest is kept instead of the value.
        dropped: Columns of which nothing is kept.
        share: Share of the requests whose features are kept at all [percent].
    """

    hashed: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    share: float = 100.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a verdict with a name that a person reads.

    Attributes:
        name: For example "candidate error rate".
        value: Finite number; an absent number is an absent figure, never NaN.
        unit: For example "share", "ms", "Brier".
    """

    name: str
    value: float
    unit: str = ""


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
    figures: tuple[Figure, ...] = ()
    details: tuple[dict[str, object], ...] = field(default=())
