"""Start and end a live drill, in which live traffic goes to the champion and to itself as candidate."""

from surefoot.core.actions import FinishEffect
from surefoot.core.drills.live_drill_events import LiveDrillBegan, LiveDrillEnded
from surefoot.core.errors import Rejected
from surefoot.core.journal.events import EffectRefused, SetSplit
from surefoot.core.journal.ledger import Ledger
from surefoot.core.operator_reason import clean_reason
from surefoot.rollout.advance_rollout import carry_out_effect, journal_and_apply_effect
from surefoot.rollout.ports import Ports

LIVE_DRILL_OVERDUE_S = 15.0
"""Time after its end from which on a live drill is taken back by `reconcile`: its command is gone [seconds]."""


def has_live_drill_route(ledger: Ledger) -> bool:
    """Whether a live drill is under way, or its route was left behind by one that is over; never beside a rollout."""
    if ledger.open:
        return False
    return ledger.drills.live is not None or (ledger.split is not None and ledger.split.is_live_drill)


def has_unconfirmed_live_drill(ledger: Ledger) -> bool:
    """Whether the route of a live drill was intended, and it is not known whether it is in force."""
    return ledger.intent is not None and isinstance(ledger.intent[1], SetSplit) and ledger.intent[1].is_live_drill


def begin_live_drill(ports: Ports, ledger: Ledger, began: LiveDrillBegan) -> Ledger:
    """Begin a live drill: route traffic to the champion in both arms, by a journalled change like every other route.

    Args:
        ports: The outside world.
        ledger: What the drill was found possible by; it does not begin where another process has appended since.
        began: The drill.

    Raises:
        Rejected: A rollout is open, another live drill is under way, a change is pending, or the gateway refuses.
        Unavailable: The gateway does not answer; the drill has to be taken back even so.
        Conflict: Another process has appended to the journal, or another route is in force.
    """
    if problem := find_live_drill_problem(ledger):
        raise Rejected(problem)
    ledger = ports.append(ledger, began)
    split = SetSplit(began.champion, began.champion, began.weight, units=began.units)
    return journal_and_apply_effect(ports, ledger, split)


def find_live_drill_problem(ledger: Ledger) -> str:
    """Why no live drill can begin, as far as the journal knows; empty where one can."""
    model = ledger.model
    if not ledger.engine.abilities.drills:
        return f"{model} is served by engine '{ledger.engine.name}': only the gateway's rollback is rehearsed"
    if ledger.champion is None or ledger.split is None:
        return f"{model} has no champion that is served: there is nothing to rehearse"
    if ledger.rollout is not None:
        return f"rollout {ledger.open} of {model} is {ledger.rollout.stage}: a live drill waits for its end"
    if ledger.drills.live is not None:
        return f"live drill {ledger.drills.live.drill} of {model} is under way: 'surefoot drill --stop-all' ends it"
    if ledger.intent is not None:
        return f"a change of {model} is pending since entry {ledger.intent[0]}: 'reconcile' finishes it, then try again"
    if ledger.split.candidate is not None or ledger.split.champion.digest != ledger.champion.digest:
        return (
            f"version {ledger.champion.number} of {model} does not answer everything: a live drill waits until it does"
        )
    return ""


def take_back_live_drill(ports: Ports, ledger: Ledger, reason: str, *, completed: bool = False) -> Ledger:
    """Give the champion everything again and journal the end of the drill; safe to repeat after any interruption.

    Args:
        ports: The outside world; the journal and the gateway are asked.
        ledger: The model's ledger.
        reason: Why.
        completed: Whether its time was over, and nothing has stopped it.

    Raises:
        Unavailable: The gateway does not answer; the intent is journalled, and the next call carries it out.
        Conflict: Another process has appended to the journal: read it again.
    """
    live, pending, champion = ledger.drills.live, ledger.intent, ledger.champion
    if not has_live_drill_route(ledger) or champion is None:
        return ledger
    if pending is not None and not has_unconfirmed_live_drill(ledger):
        ledger = carry_out_effect(ports, ledger, FinishEffect(*pending))
    else:
        if pending is not None:
            ledger = ports.append(ledger, EffectRefused("", pending[0], "given up to take the live drill back"))
        ledger = journal_and_apply_effect(ports, ledger, SetSplit(champion, None, 0.0))
    return (
        ledger
        if live is None
        else ports.append(ledger, LiveDrillEnded(live.drill, clean_reason(reason).text, completed))
    )


def stop_live_drill(ports: Ports, model: str, reason: str) -> Ledger:
    """Take the live drill of a model back, if one is under way; raises what `take_back_live_drill` raises."""
    return take_back_live_drill(ports, ports.ledger(model), reason)


def is_live_drill_overdue(ledger: Ledger, now: float) -> bool:
    """Whether the command that runs a live drill is gone, so that `reconcile` has to take the traffic back.

    Args:
        ledger: The model's ledger.
        now: The time [Unix seconds].
    """
    live = ledger.drills.live
    return has_live_drill_route(ledger) and (live is None or now >= live.until + LIVE_DRILL_OVERDUE_S)


def end_overdue_live_drill(ports: Ports, model: str) -> bool:
    """Take a live drill back whose command is gone; whether there was one. Raises as `take_back_live_drill` does."""
    ledger = ports.ledger(model)
    if not is_live_drill_overdue(ledger, ports.clock.now()):
        return False
    take_back_live_drill(ports, ledger, "its time is over, and the command that ran it has not taken the traffic back")
    return True
