"""Track the state of one rollout by folding its journal events."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from surefoot.core.approvals.approval_events import ApprovalEvent
from surefoot.core.approvals.approval_state import ApprovalState
from surefoot.core.domain import RolloutKind, Stage, Verdict, Version
from surefoot.core.journal.events import (
    DriftFound,
    Effect,
    EndDecided,
    GateJudged,
    Paused,
    RolloutOpened,
    SetSplit,
    StageEntered,
)
from surefoot.core.journal.served_version_events import RollbackTargetChanged
from surefoot.core.stages.hold_events import FreezeOverridden, HoldEvent, RolloutPaused, RolloutResumed

RolloutEvent = (
    StageEntered | GateJudged | Paused | EndDecided | RollbackTargetChanged | DriftFound | ApprovalEvent | HoldEvent
)
"""Events that change the open rollout alone."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """State of one rollout after all journal entries so far.

    Attributes:
        opened: The event that opened it.
        opened_at: When [Unix seconds].
        stage: Where it stands.
        step: Index into the policy's weights while ramping, otherwise 0.
        entered_at: When the stage was entered, or the step's weight or mirror was live [Unix seconds].
        look: Number of the look that `verdicts` belong to, counted within the step.
        looked_at: When that look's last verdict came [Unix seconds].
        asked_at: When that look was asked for [Unix seconds].
        verdicts: Answers of that look by gate.
        paused: Why it waits, or None.
        ending: The terminal stage that has been decided, or None.
        drifted: Whether another program or a person was found to have changed registry or traffic.
        done: Effects that were applied, in order.
        refused: Effects that could not be applied since the end was decided.
        reason: Why it stands where it stands.
        unfit: Digests of versions that traffic cannot go back to.
        instead: Version that traffic goes back to in place of one that is unfit, or None.
        latest: The latest verdict of each gate in the whole rollout.
        waiting_since: When it began to wait for people, or to hold in place [Unix seconds]; 0 while it does neither.
        approvals: Who has approved the step that it waits at.
        held: The pause of a person, or None.
        released_at: When the last pause ended [Unix seconds].
        overridden: Why freezes do not hold it; empty where they do.
    """

    opened: RolloutOpened
    opened_at: float
    stage: Stage = Stage.SUBMITTED
    step: int = 0
    entered_at: float = 0.0
    look: int = 0
    looked_at: float = 0.0
    asked_at: float = 0.0
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    paused: Paused | None = None
    ending: EndDecided | None = None
    drifted: bool = False
    done: tuple[Effect, ...] = ()
    refused: tuple[Effect, ...] = ()
    reason: str = ""
    unfit: tuple[str, ...] = ()
    instead: Version | None = None
    latest: Mapping[str, Verdict] = field(default_factory=dict)
    waiting_since: float = 0.0
    approvals: ApprovalState = field(default_factory=ApprovalState)
    held: RolloutPaused | None = None
    released_at: float = 0.0
    overridden: str = ""

    @property
    def is_before_traffic(self) -> bool:
        """Whether no caller has had an answer of the candidate yet, as far as the split was to say."""
        waits = self.stage in {Stage.AWAITING_APPROVAL, Stage.HOLDING}
        routed = any(isinstance(effect, SetSplit) and effect.candidate and effect.weight for effect in self.done)
        return not routed if waits else self.stage.is_before_traffic

    @property
    def since(self) -> float:
        """When it came to where it stands [Unix seconds]."""
        return self.waiting_since or self.entered_at

    @property
    def rollback_target(self) -> Version:
        """The version that traffic goes back to: the champion of before, or the target of a rollback."""
        if self.instead is not None:
            return self.instead
        return self.opened.candidate if self.opened.kind == RolloutKind.ROLLBACK else self.opened.champion

    def after_event(self, event: RolloutEvent, at: float) -> "Rollout":
        """The state after an event of this rollout.

        Args:
            event: The event.
            at: When it was journalled [Unix seconds].
        """
        match event:
            case StageEntered() if event.stage in {Stage.AWAITING_APPROVAL, Stage.HOLDING}:
                # The step that was passed is judged on: its evidence and looks go on as if it took longer.
                asks = event.stage is Stage.AWAITING_APPROVAL
                since = at if asks else self.waiting_since or at
                waits = replace(self, stage=event.stage, step=event.step, waiting_since=since, reason=event.reason)
                return replace(waits, approvals=self.approvals.next_step() if asks else self.approvals)
            case StageEntered():
                begun = replace(self, look=0, looked_at=at, verdicts={}, paused=None, waiting_since=0.0)
                return replace(begun, stage=event.stage, step=event.step, entered_at=at, reason=event.reason)
            case GateJudged():
                verdicts = dict(self.verdicts) if event.look == self.look else {}
                verdicts[event.verdict.gate] = event.verdict
                latest = {**self.latest, event.verdict.gate: event.verdict}
                elapsed = event.level.elapsed if event.level else None
                asked = at if elapsed is None else self.entered_at + elapsed
                return replace(self, look=event.look, looked_at=at, asked_at=asked, verdicts=verdicts, latest=latest)
            case Paused():
                return replace(self, paused=event, reason=event.reason)
            case EndDecided():
                return replace(self, ending=event, reason=event.reason)
            case DriftFound():
                reason = f"{event.what} should be {event.expected}: {event.seen}"
                return replace(self, drifted=True, reason=reason)
            case RollbackTargetChanged():
                return replace(self, instead=event.target, unfit=(*self.unfit, event.unfit.digest))
            case RolloutPaused():
                return replace(self, held=event, reason=event.reason)
            case RolloutResumed():
                return replace(self, held=None, released_at=at, reason=event.reason)
            case FreezeOverridden():
                return replace(self, overridden=event.reason)
            case _:
                return replace(self, approvals=self.approvals.after_event(event))
