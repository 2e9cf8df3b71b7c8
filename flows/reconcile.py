"""Reconcile the journal with registry, gateway and Prefect: adopt changes, resume rollouts, report drift."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.finished_flow_runs import update_ended_runs
from tasks.reconcile import (
    abort_cancelled_rollouts,
    apply_registry_changes,
    compact_all_logs,
    count_ended_rollouts,
    drill_fallbacks,
    heads,
    mark_dead_runs_crashed,
    reconciled,
    report_drift,
    resume_rollouts,
    serve_champions,
    settle_all_tables,
    show,
)


@flow(name="reconcile")
def reconcile() -> State[dict[str, list[str]]]:
    """Run when there is something to do; each part finds what it needs by itself and is safe to repeat."""
    before = heads()
    reaped = mark_dead_runs_crashed()
    aborted = abort_cancelled_rollouts()
    serve_champions()
    changes = apply_registry_changes()
    started = resume_rollouts()
    tables = settle_all_tables()
    counted = count_ended_rollouts()
    drilled = drill_fallbacks()
    shown = show()
    done = {"reaped": reaped, "aborted": aborted, **changes, "started": started, "tables": tables, "counted": counted}
    done |= {"drilled": drilled, "shown": shown}
    return reconciled(
        {**done, "drift": report_drift(), "told": update_ended_runs(), "compacted": compact_all_logs()}, before
    )
