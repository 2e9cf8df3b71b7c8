"""Reconcile the journal with registry, gateway and Prefect: adopt changes, resume rollouts, report drift."""

from prefect import flow

from tasks.ended_runs import update_ended_runs
from tasks.reconcile import adopt, cancelled, compact, compare, read_registry, reap, resume


@flow(name="reconcile")
def reconcile() -> dict[str, list[str]]:
    """Run every minute; each part finds what it needs by itself and is safe to repeat."""
    reaped = reap()
    aborted = cancelled()
    adopt()
    changes = read_registry()
    started = resume()
    done = {"reaped": reaped, "aborted": aborted, **changes, "started": started}
    return {**done, "drift": compare(), "told": update_ended_runs(), "compacted": compact()}
