"""Define the Prefect task that records a signed approval or denial."""

from prefect import task
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from surefoot.core.errors import ApprovalInvalid
from surefoot.core.journal.event_sentences import describe_event
from surefoot.rollout import record_signed_decision
from tasks.promote_flow_runs import tag_flow_run
from tasks.stage_driver import is_retryable_failure, open_flow_ports
from tasks.states import RejectedState


@task(name="record", retries=3, retry_delay_seconds=2, retry_condition_fn=is_retryable_failure, timeout_seconds=120)
def record_decision(model: str, signed: str) -> State[str]:
    """Verify what a person has signed, and record it; FAILED and named ApprovalRejected where it does not count."""
    with open_flow_ports() as ports:
        try:
            event = record_signed_decision(ports, model, signed.encode())
        except ApprovalInvalid as error:
            return Failed(cls=RejectedState, name="ApprovalRejected", message=str(error))
        tag_flow_run(event.rollout)
    return Completed(message=describe_event(event), data=event.signed.person)
