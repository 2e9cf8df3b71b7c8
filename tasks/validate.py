"""Data first: the expectation suite judges the requests that the shadow will replay."""

from prefect import task

from surefoot.core.model import Stage
from tasks.transition import retryable, through


@task(
    name="validate",
    task_run_name="validate",
    retries=3,
    retry_delay_seconds=10,
    retry_condition_fn=retryable,
)
def validate(model: str, rollout: str) -> str:
    """Run the suite; returns the rollout, so that the next stage follows from this one."""
    through(model, rollout, Stage.VALIDATING)
    return rollout
