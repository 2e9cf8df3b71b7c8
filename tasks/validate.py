"""Data first: the expectation suite judges the requests that the shadow will replay."""

from prefect import task
from prefect.client.schemas.objects import State

from surefoot.core.model import Stage
from tasks.transition import retryable, through


@task(
    name="validate",
    task_run_name="validate",
    retries=3,
    retry_delay_seconds=10,
    retry_condition_fn=retryable,
)
def validate(model: str, rollout: str) -> State[str]:
    """Run the suite on the requests that the shadow will replay."""
    return through(model, rollout, Stage.VALIDATING)
