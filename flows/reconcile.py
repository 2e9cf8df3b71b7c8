"""Run all reconciliation steps, such as resuming interrupted rollouts."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.drill import start_due_drills
from tasks.evidence_import import import_all_evidence
from tasks.promote_flow_runs import update_ended_runs
from tasks.reconcile import (
    abort_cancelled_rollouts,
    apply_registry_changes,
    check_fallbacks,
    compact_all_logs,
    count_ended_rollouts,
    end_overdue_live_drills,
    final_reconcile_state,
    journal_heads,
    mark_dead_runs_crashed,
    report_drift,
    report_incidents,
    restore_all_due_tables,
    resume_rollouts,
    serve_champions,
    show_ended_rollouts,
)


@flow(name="reconcile")
def reconcile() -> State[dict[str, list[str]]]:
    """Run all reconciliation steps; each one finds by itself what is to be done, and is safe to repeat."""
    before = journal_heads()
    reaped = mark_dead_runs_crashed()
    aborted = abort_cancelled_rollouts()
    left = end_overdue_live_drills()
    serve_champions()
    changes = apply_registry_changes()
    started = resume_rollouts()
    tables = restore_all_due_tables()
    imported = import_all_evidence()
    counted = count_ended_rollouts()
    drilled = check_fallbacks() + start_due_drills()
    incidents = report_incidents()
    shown = show_ended_rollouts()
    done = {"reaped": reaped, "aborted": aborted, **changes, "started": started, "tables": tables, "counted": counted}
    done |= {"imported": imported}
    done |= {"live drills": left, "drilled": drilled, "incidents": incidents, "shown": shown}
    return final_reconcile_state(
        {**done, "drift": report_drift(), "told": update_ended_runs(), "compacted": compact_all_logs()}, before
    )
