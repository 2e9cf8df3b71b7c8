"""Open the promotion or rollback that a flow run requests, if the person who requests it has the permission."""

from collections.abc import Callable
from dataclasses import replace

from surefoot.core.access.run_requests import RunOrder, RunPermit
from surefoot.core.domain import RolloutKind
from surefoot.core.journal.ledger import Ledger
from surefoot.rollout.ports import Ports
from surefoot.rollout.rollout_commands import PromotionRequest, open_promotion, open_rollback, retry_on_conflict

_Permit = Callable[[], RunPermit]
"""Checks who asks for a run and uses the request up; raises Forbidden or RequestInvalid."""


def open_permitted_promotion(ports: Ports, model: str, request: PromotionRequest, permit: _Permit | None) -> str:
    """Open a rollout in the name of the person who asks, or join the one that is open: that needs no permit.

    Args:
        ports: The outside world.
        model: Registered model.
        request: What is to be promoted.
        permit: Asked before anything new begins; None where no run is asked who starts it.

    Returns:
        Id of the rollout.

    Raises:
        Forbidden: The person may not do this; nothing was journalled.
        RequestInvalid: The request is missing or does not count; nothing was journalled.
        Rejected: As `open_promotion` raises it.
    """
    if permit is None:
        return open_promotion(ports, request)
    current = ports.ledger(model).rollout
    if current and current.opened.kind == RolloutKind.PROMOTION and current.opened.candidate.number == request.number:
        return open_promotion(ports, replace(request, join_only=True))
    permitted = permit()
    asked = replace(request, reason=permitted.reason)
    return open_promotion(_in_name_of(ports, permitted), asked)


def open_permitted_rollback(ports: Ports, order: RunOrder, permit: _Permit | None) -> Ledger:
    """Decide a rollback in the name of the person who asks; one that is under way is gone on with without a permit.

    Args:
        ports: The outside world.
        order: What the run is about to do.
        permit: Asked before anything new is decided; None where no run is asked who starts it.

    Returns:
        The state of the model with what is being taken back.

    Raises:
        Forbidden: The person may not do this; nothing was journalled.
        RequestInvalid: The request is missing or does not count; nothing was journalled.
        Rejected: As `open_rollback` raises it.
    """
    before = ports.ledger(order.model)
    under_way = before.rollout is not None and (
        before.rollout.ending is not None or before.rollout.opened.kind == RolloutKind.ROLLBACK
    )
    if under_way and order.mode != "immediate":
        return before
    permitted = permit() if permit is not None else RunPermit("", order.reason)
    named = _in_name_of(ports, permitted)
    return retry_on_conflict(
        lambda: open_rollback(named, order.model, permitted.reason, order.version or None, order.mode or None)
    )


def _in_name_of(ports: Ports, permitted: RunPermit) -> Ports:
    """The ports in the name of the person who has asked; unchanged where a process of our own has."""
    return replace(ports, actor=permitted.actor) if permitted.actor else ports
