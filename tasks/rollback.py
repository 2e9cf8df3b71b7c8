"""Define the Prefect task that rolls a version back."""

from prefect import task
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger

from surefoot import wiring
from surefoot.core.access.run_requests import RunOrder
from surefoot.core.errors import Forbidden, RequestInvalid, SurefootError
from surefoot.core.rollback.stepped_rollback import waits_for_person
from surefoot.rollout import drive_rollout, open_permitted_rollback, restore_due_tables
from surefoot.settings import read_settings
from tasks.promote_flow_runs import identify_flow_run_attempt, tag_flow_run
from tasks.stage_driver import is_retryable_failure, open_flow_ports, show_journal_in_mlflow
from tasks.states import make_refused_state


@task(
    name="roll back", retries=30, retry_delay_seconds=2, retry_condition_fn=is_retryable_failure, timeout_seconds=1800
)
def roll_back(model: str, reason: str, to: str | None, mode: str | None = None, request: str = "") -> str | State[str]:
    """Take back the open rollout, or the promoted champion; returns the id of what ended.

    The result is FAILED when it is not known who asks for it.
    """
    order = RunOrder("rollback", model, to or "", mode or "", reason=reason)
    permit = wiring.build_run_permit_check(read_settings(), order, request, identify_flow_run_attempt())
    with open_flow_ports() as ports:
        try:
            before = open_permitted_rollback(ports, order, permit)
        except (RequestInvalid, Forbidden) as error:
            return make_refused_state(error)
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
