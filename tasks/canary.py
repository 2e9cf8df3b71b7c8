"""One rung of the ramp: real requests, both arms, gates armed."""

from prefect import task

from surefoot.core.model import Stage
from tasks.transition import retryable, through


@task(
    name="canary",
    task_run_name="canary step {step}",
    retries=3,
    retry_delay_seconds=10,
    retry_condition_fn=retryable,
)
def canary(model: str, rollout: str, step: int) -> str:
    """Hold one weight until its gates pass or one of them fails; steps count from 1."""
    through(model, rollout, Stage.RAMPING, step - 1)
    return rollout
