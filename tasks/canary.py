"""One rung of the ramp: real requests, both arms, gates armed."""

from prefect import task
from prefect.client.schemas.objects import State

from surefoot.core.model import Stage
from tasks.transition import retryable, through


@task(
    name="canary",
    task_run_name="canary step {step}",
    retries=3,
    retry_delay_seconds=10,
    retry_condition_fn=retryable,
)
def canary(model: str, rollout: str, step: int) -> State[str]:
    """Hold one weight until its gates pass or one of them fails; steps count from 1."""
    return through(model, rollout, Stage.RAMPING, step - 1)
