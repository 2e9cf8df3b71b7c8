"""Open and end the rollouts that the registry requests by marking a version as candidate."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from surefoot.core.domain import STAGES_BEFORE_TRAFFIC, RegistryView, RolloutKind, Stage
from surefoot.core.errors import Rejected, RolloutInProgress, SurefootError
from surefoot.core.journal.chain import canonical_digest
from surefoot.core.journal.events import CandidateRefused
from surefoot.core.journal.ledger import Ledger, Rollout
from surefoot.core.operator_reason import clean_reason
from surefoot.rollout.ports import Ports
from surefoot.rollout.rollout_commands import PromotionRequest, end_rollout, open_promotion

_CANDIDATE_ALIAS = "candidate"
_STAGING_STAGE = "Staging"
ALIAS_SOURCE, STAGE_SOURCE = "alias", "stage"
"""What asks for a version: the alias `candidate`, or the stage `Staging` of teams that still use stages."""
_BEFORE_PROMOTION = STAGES_BEFORE_TRAFFIC | {Stage.RAMPING, Stage.AWAITING_APPROVAL, Stage.HOLDING}


@dataclass(frozen=True, slots=True)
class CandidateRequest:
    """A version that an alias or stage of the registry asks to be promoted.

    Attributes:
        number: Version.
        source: ALIAS_SOURCE or STAGE_SOURCE.
        reason: Why, for the record.
    """

    number: str
    source: str
    reason: str

    @property
    def asker(self) -> str:
        """What asks, in words."""
        return "alias candidate" if self.source == ALIAS_SOURCE else "stage Staging"


def candidate_requests(view: RegistryView) -> tuple[CandidateRequest, ...]:
    """All versions that the registry asks to be promoted: by alias first, then those in Staging, newest first."""
    found = []
    if (number := view.aliases.get(_CANDIDATE_ALIAS)) is not None:
        found.append(CandidateRequest(number, ALIAS_SOURCE, "alias candidate was set on it"))
    staged = [number for number, stage in view.stages.items() if stage == _STAGING_STAGE]
    staged.sort(key=int, reverse=True)
    found += [
        CandidateRequest(number, STAGE_SOURCE, "it was moved to stage Staging")
        for number in staged
        if number != view.aliases.get(_CANDIDATE_ALIAS)
    ]
    return tuple(found)


def _withdrawal_reason(rollout: Rollout, view: RegistryView, model: str) -> str:
    """Why an open rollout has lost what asked for it, or nothing; what was started by hand has no alias to lose."""
    number, source = rollout.opened.candidate.number, rollout.opened.source
    if rollout.opened.kind != RolloutKind.PROMOTION or rollout.ending or rollout.stage not in _BEFORE_PROMOTION:
        return ""
    if not view.exists:
        return f"the registered model {model} was deleted or renamed"
    if number not in view.stages:
        return f"version {number} was deleted from the registry"
    if source == ALIAS_SOURCE and _CANDIDATE_ALIAS not in view.aliases:
        return "alias candidate, which had asked for it, was deleted"
    if source == STAGE_SOURCE and view.stages[number] != _STAGING_STAGE:
        return f"it was moved from stage Staging to {view.stages[number]}"
    return ""


def end_withdrawn_rollout(ports: Ports, model: str, view: RegistryView) -> str:
    """End the open rollout when its alias or stage was removed in the registry; returns the reason, or nothing."""
    rollout = ports.ledger(model).rollout
    reason = _withdrawal_reason(rollout, view, model) if rollout else ""
    if reason:
        end_rollout(ports, model, Stage.WITHDRAWN, reason)
    return reason


def needs_fresh_registry_view(ledger: Ledger, view: RegistryView) -> bool:
    """Whether something would follow from what the registry said a moment ago, so that it is read again first."""
    rollout = ledger.rollout
    withdrawn = rollout is not None and bool(_withdrawal_reason(rollout, view, ledger.model))
    return withdrawn or bool(candidate_requests(view)) or bool(view.similar_alias(_CANDIDATE_ALIAS))


def _is_settled(ledger: Ledger, wish: CandidateRequest) -> bool:
    """Whether nothing is to be done about a wish any more, or right now."""
    rollout = ledger.rollout
    if rollout is not None and rollout.opened.candidate.number == wish.number:
        return True
    last = next((item for item in reversed(tuple(ledger.rollouts.values())) if _promotes(item, wish.number)), None)
    # A version that was superseded while it waited in Staging would otherwise take turns with its successor.
    if last is None:
        return False
    promoted = last.stage is Stage.PROMOTED and ledger.rollback_of(last.opened.candidate.digest) is None
    return promoted or (last.stage is Stage.SUPERSEDED and wish.source == STAGE_SOURCE)


def _promotes(rollout: Rollout, number: str) -> bool:
    return rollout.opened.kind == RolloutKind.PROMOTION and rollout.opened.candidate.number == number


@dataclass(frozen=True, slots=True)
class CandidateResult:
    """The result of one model's candidate requests: the version whose rollout was opened, and messages.

    Attributes:
        number: Version whose rollout was opened; empty when none was.
        lines: What a person should read in the log.
    """

    number: str = ""
    lines: tuple[str, ...] = ()


def open_requested_rollout(
    ports: Ports, model: str, view: RegistryView, request: Callable[[CandidateRequest], PromotionRequest], facts: object
) -> CandidateResult:
    """Open a rollout for the first candidate request that can be accepted; each refusal is journalled once.

    Args:
        ports: The outside world.
        model: Registered model.
        view: What the registry says now.
        request: Makes the request for a wish; a policy that is wrong raises Rejected.
        facts: What a refusal depends on beside the journal, as JSON: as long as it is the same, nothing is tried again.
    """
    ledger = ports.ledger(model)
    lines: list[str] = []
    asked = candidate_requests(view)
    if not asked and (miss := view.similar_alias(_CANDIDATE_ALIAS)):
        return CandidateResult(lines=(miss,))
    for position, wish in enumerate(asked):
        if _is_settled(ledger, wish):
            if ledger.rollout is not None:
                return CandidateResult(lines=tuple(lines))  # it has what it asks for; the others wait for its end
            continue
        mark = canonical_digest(
            {"champion": ledger.champion.digest if ledger.champion else "", "facts": facts, "view": _plain(view)}
        )
        known = ledger.refusals.get(wish.number)
        if known is not None and known.facts == mark:
            continue
        waiting = [
            f"version {other.number} ({other.asker})"
            for other in asked[position + 1 :]
            if not _is_settled(ledger, other)
        ]
        try:
            asked_for = request(wish)
            waits = f"; {' and '.join(waiting)} waits" if waiting else ""
            open_promotion(ports, replace(asked_for, reason=f"{asked_for.reason}{waits}", source=wish.source))
        except RolloutInProgress as error:
            return CandidateResult(lines=(*lines, str(error)))
        except Rejected as error:
            reason = clean_reason(str(error)).text
            if known is None or known.reason != reason:
                lines.append(f"version {wish.number} is not taken, though {wish.asker} asks for it: {reason}")
            ledger = ports.append(ports.ledger(model), CandidateRefused(wish.number, wish.source, reason, mark))
            continue
        except SurefootError as error:  # the registry is down, or the version is not ready: the next tick tries again
            return CandidateResult(lines=(*lines, f"version {wish.number} is not opened yet: {error}"))
        return CandidateResult(
            wish.number, (*lines, *(f"{one} waits: version {wish.number} is taken first" for one in waiting))
        )
    return CandidateResult(lines=tuple(lines))


def _plain(view: RegistryView) -> dict[str, object]:
    return {"aliases": dict(view.aliases), "stages": dict(view.stages), "statuses": dict(view.statuses)}
