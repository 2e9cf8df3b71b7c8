"""Handle drift of the alias `champion` (a person moved it by hand) as the model's policy says."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from surefoot.core.domain import RolloutKind
from surefoot.core.errors import Rejected, RolloutInProgress
from surefoot.core.journal.events import CandidateRefused, DriftResolved
from surefoot.core.journal.ledger import Ledger
from surefoot.core.operator_reason import clean_reason
from surefoot.core.policy.policy_types import Policy
from surefoot.core.registry_drift.drift_events import (
    CHAMPION_DRIFT_NAME,
    UNKNOWN_REGISTRY_ACTOR,
    DriftReaction,
    DriftReactionChosen,
)
from surefoot.core.registry_drift.drift_state import CHAMPION_ALIAS_REQUEST_SOURCE
from surefoot.core.registry_drift.reaction_choice import choose_reaction
from surefoot.rollout.candidates import CandidateRequest
from surefoot.rollout.ports import Ports
from surefoot.rollout.rollout_commands import PromotionRequest, open_promotion, open_rollback


def _no_policy(wish: CandidateRequest) -> PromotionRequest:
    raise Rejected(f"version {wish.number} cannot be promoted: the model has no policy that can be read")


@dataclass(frozen=True, slots=True)
class DriftRule:
    """What the policy of a model says about an alias that another hand has moved.

    Attributes:
        on_drift: The key `on_drift` of the policy.
        request: Makes the request to promote the version that alias `champion` was set on.
    """

    on_drift: DriftReaction = DriftReaction.ALERT
    request: Callable[[CandidateRequest], PromotionRequest] = _no_policy


def read_drift_reaction(policy: Policy | None) -> DriftReaction:
    """What a policy says about a moved alias; without a policy it is told and left alone."""
    return DriftReaction.ALERT if policy is None else DriftReaction(policy.on_drift)


def react_to_champion_drift(ports: Ports, ledger: Ledger, rule: DriftRule) -> Ledger:
    """Choose what is done about a moved alias `champion`, journal that, and carry it out; safe to repeat.

    Raises:
        Unavailable: The registry does not answer; the next call goes on where this one has stopped.
        Rejected: The registry does not let us set the alias.
        Conflict: Another process acts on the model.
    """
    chosen = choose_reaction(ledger, rule.on_drift, ports.clock.now())
    if chosen is not None:
        by = _as_other_hand(ports) if chosen.reaction is DriftReaction.ROLLBACK else ports
        ledger = by.append(ledger, chosen)
    todo = ledger.drift.chosen.get(CHAMPION_DRIFT_NAME)
    if todo is not None and CHAMPION_DRIFT_NAME in ledger.drift.pending and todo.rollout == ledger.open:
        ledger = (
            _roll_back(ports, ledger, todo)
            if todo.reaction is DriftReaction.ROLLBACK
            else _set_back(ports, ledger, todo)
        )
    return _adopt(ports, ledger, rule)


def _as_other_hand(ports: Ports) -> Ports:
    """The same ports in the name of the person or program that has moved the alias."""
    return replace(ports, actor=UNKNOWN_REGISTRY_ACTOR)


def _roll_back(ports: Ports, ledger: Ledger, chosen: DriftReactionChosen) -> Ledger:
    """Take back the open rollout or the champion, as the alias asks for; a rollback that cannot begin is told."""
    try:
        return open_rollback(_as_other_hand(ports), ledger.model, chosen.reason)
    except Rejected as error:
        why = f"a rollback to version {chosen.number} cannot begin: {clean_reason(str(error)).text}"
        alert = replace(chosen, reaction=DriftReaction.ALERT, number="", reason=why)
        return ports.append(ports.ledger(ledger.model), alert)


def _set_back(ports: Ports, ledger: Ledger, chosen: DriftReactionChosen) -> Ledger:
    """Point alias `champion` to the version that is served again, unless it was moved once more since."""
    live = ports.registry.alias(ledger.model, "champion")
    if live == chosen.before:
        ports.registry.set_alias(ledger.model, "champion", chosen.number)
    elif live != chosen.number:
        return ledger  # the next look finds where it points to now
    was = f"from version {chosen.before}" if chosen.before else "after it was removed"
    how = f"it was set back to version {chosen.number}, {was}"
    return ports.append(ledger, DriftResolved(ledger.open, chosen.what, how))


def _adopt(ports: Ports, ledger: Ledger, rule: DriftRule) -> Ledger:
    """Open the promotion of a version on which alias `champion` was set; a refusal is journalled."""
    model, number = ledger.model, ledger.drift.adopting
    if not number or CHAMPION_DRIFT_NAME in ledger.drifts or ledger.intent:
        return ledger
    rollout = ledger.rollout
    if rollout is not None and rollout.opened.kind == RolloutKind.ROLLBACK:
        return ledger
    wish = CandidateRequest(
        number, CHAMPION_ALIAS_REQUEST_SOURCE, "alias champion was set on it, and the policy says on_drift: adopt"
    )
    try:
        open_promotion(ports, replace(rule.request(wish), source=CHAMPION_ALIAS_REQUEST_SOURCE))
    except RolloutInProgress:
        return ports.ledger(model)  # it waits for the end of that one
    except Rejected as error:
        refused = CandidateRefused(number, CHAMPION_ALIAS_REQUEST_SOURCE, clean_reason(str(error)).text)
        return ports.append(ports.ledger(model), refused)
    return ports.ledger(model)
