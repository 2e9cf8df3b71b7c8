"""Define the actions of the state machine: effects, gate evaluations, events, checkpoints and waits."""

from dataclasses import dataclass

from surefoot.core.domain import EvidenceKind
from surefoot.core.journal.events import Effect, Event
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import Gate
from surefoot.core.policy.recovery.data_layer import DataSource


@dataclass(frozen=True, slots=True)
class FinishEffect:
    """Carry out an effect that was intended and not yet done."""

    seq: int
    effect: Effect


@dataclass(frozen=True, slots=True)
class AbandonEffect:
    """Give up an intended change of a promotion, because it would prevent moving traffic back."""

    seq: int


@dataclass(frozen=True, slots=True)
class ApplyEffect:
    """Journal the intention of an effect, then carry it out."""

    effect: Effect


@dataclass(frozen=True, slots=True)
class JudgeGates:
    """Evaluate these gates once.

    Attributes:
        kind: Where the evidence comes from.
        gates: The gates that have not answered at this look.
        look: One-based number of the look within the step.
        since: Start of the evidence window [Unix seconds].
        level: How sure each verdict must be.
    """

    kind: EvidenceKind
    gates: tuple[Gate, ...]
    look: int
    since: float
    level: DecisionThresholds


@dataclass(frozen=True, slots=True)
class RecordEvent:
    """Append an event."""

    event: Event


@dataclass(frozen=True, slots=True)
class CheckpointData:
    """Checkpoint a table before the candidate is promoted."""

    source: DataSource


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Nothing to do before this time [Unix seconds]."""

    until: float
    reason: str


@dataclass(frozen=True, slots=True)
class NoRollout:
    """No rollout is open."""


Action = FinishEffect | AbandonEffect | ApplyEffect | JudgeGates | RecordEvent | CheckpointData | WaitUntil | NoRollout
