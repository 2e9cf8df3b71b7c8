"""Replay: champion and candidate score the same logged requests."""

from prefect import task
from prefect.client.schemas.objects import State

from surefoot.core.model import Stage
from tasks.transition import quiet_threads, retryable, through


@task(
    name="shadow",
    task_run_name="shadow",
    retries=3,
    retry_delay_seconds=10,
    retry_condition_fn=retryable,
)
def shadow(model: str, rollout: str) -> State[str]:
    """Judge the paired evidence."""
    quiet_threads()
    return through(model, rollout, Stage.SHADOWING)
