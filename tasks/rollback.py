"""Define the Prefect task that rolls a version back."""

from prefect import task
from prefect.logging import get_run_logger

from surefoot.core.errors import SurefootError
from surefoot.core.rollback.stepped_rollback import waits_for_person
from surefoot.rollout import drive_rollout, open_rollback, restore_due_tables, retry_on_conflict
from tasks.promote_flow_runs import tag_flow_run
from tasks.stage_driver import is_retryable_failure, open_flow_ports, show_journal_in_mlflow


@task(
    name="roll back", retries=30, retry_delay_seconds=2, retry_condition_fn=is_retryable_failure, timeout_seconds=1800
)
def roll_back(model: str, reason: str, to: str | None, mode: str | None = None) -> str:
    """Take back the open rollout, or the promoted champion; returns the id of what ended."""
    with open_flow_ports() as ports:
        before = ports.ledger(model)
        resumed = before.rollout is not None and (before.rollout.ending or before.rollout.opened.kind == "rollback")
        if not resumed or mode == "immediate":
            before = retry_on_conflict(lambda: open_rollback(ports, model, reason, to, mode))
        if before.rollout is not None:
            opened = before.rollout.opened
            taken, back = opened.champion.number, opened.candidate.number
            if opened.kind == "promotion":
                taken, back = back, taken
            tag_flow_run(before.open, f"{model}: rollback of {taken} to {back}")
        drive_rollout(ports, model, until=lambda ledger: not ledger.open or waits_for_person(ledger.rollout))
        try:
            restore_due_tables(ports, model)
        except SurefootError as error:  # traffic and registry are back; `reconcile` takes the tables up again
            get_run_logger().error("a table of %s waits to be restored: %s", model, error)
    show_journal_in_mlflow(model)
    return before.open
