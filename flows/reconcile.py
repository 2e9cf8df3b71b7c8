"""Reconcile the journal with registry, gateway and Prefect: adopt changes, resume rollouts, report drift."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.ended_runs import update_ended_runs
from tasks.reconcile import adopt, cancelled, compact, compare, heads, read_registry, reap, reconciled, resume, show


@flow(name="reconcile")
def reconcile() -> State[dict[str, list[str]]]:
    """Run when there is something to do; each part finds what it needs by itself and is safe to repeat."""
    before = heads()
    reaped = reap()
    aborted = cancelled()
    adopt()
    changes = read_registry()
    started = resume()
    shown = show()
    done = {"reaped": reaped, "aborted": aborted, **changes, "started": started, "shown": shown}
    return reconciled({**done, "drift": compare(), "told": update_ended_runs(), "compacted": compact()}, before)
