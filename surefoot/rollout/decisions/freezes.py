"""Start, end and list the freezes of a model's promotions, which a person or a calendar sets."""

from surefoot.core.domain import RolloutKind, Stage
from surefoot.core.errors import TransitionIllegal
from surefoot.core.journal.ledger import Ledger
from surefoot.core.operator_reason import clean_reason
from surefoot.core.stages.hold_events import FreezeBegan, FreezeEnded, FreezeEvent, FreezeSource
from surefoot.rollout.ports import Ports

_PAST_FREEZES = frozenset({Stage.PROMOTING, Stage.BAKING})
"""Stages in which no freeze matters any more: all traffic is decided."""


def freeze_model(ports: Ports, model: str, reason: str, until: float | None = None) -> Ledger:
    """Hold every promotion of a model in place, the open one included; nothing of a rollback is held.

    Args:
        ports: The outside world.
        model: Registered model.
        reason: Why.
        until: When it ends by itself [Unix seconds]; None where a person has to end it.
    """
    return ports.append(ports.ledger(model), FreezeBegan(FreezeSource.PERSON, clean_reason(reason).text, until))


def unfreeze_model(ports: Ports, model: str, reason: str) -> Ledger:
    """End the freeze that a person began.

    Raises:
        TransitionIllegal: There is none.
    """
    ledger = ports.ledger(model)
    begun = ledger.freezes.begun.get(FreezeSource.PERSON)
    if begun is None or begun not in ledger.freezes.in_force(ports.clock.now()):
        calendar = ledger.freezes.in_force(ports.clock.now())
        more = f"; the calendar freezes it ({calendar[0].reason}): edit configs/freeze.ics" if calendar else ""
        raise TransitionIllegal(f"{model} is not frozen by a person{more}")
    return ports.append(ledger, FreezeEnded(FreezeSource.PERSON, clean_reason(reason).text))


def find_calendar_freeze_event(ports: Ports, ledger: Ledger) -> FreezeEvent | None:
    """What the calendar of freezes has begun or ended since it was journalled last; None where nothing matters."""
    rollout = ledger.rollout
    if rollout is None or rollout.opened.kind != RolloutKind.PROMOTION or rollout.ending or ledger.intent:
        return None
    if rollout.stage in _PAST_FREEZES:
        return None
    window = ports.calendar_freeze()
    known = ledger.freezes.begun.get(FreezeSource.CALENDAR)
    active = known if known in ledger.freezes.in_force(ports.clock.now()) else None
    if window == active:
        return None
    if window is None:
        return FreezeEnded(FreezeSource.CALENDAR, "the calendar has no window now")
    return window


def list_freezes(ports: Ports, ledger: Ledger) -> tuple[FreezeBegan, ...]:
    """Every freeze that holds a model now, the calendar's as it is now."""
    by_people = (one for one in ledger.freezes.in_force(ports.clock.now()) if one.source is FreezeSource.PERSON)
    window = ports.calendar_freeze()
    return (*by_people, *(() if window is None else (window,)))
