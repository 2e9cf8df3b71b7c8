"""Define a Prefect task for each stage of the promote flow: validate, shadow, live shadow and canary."""

from prefect import task
from prefect.client.schemas.objects import State

from surefoot.core.domain import Stage
from tasks.stage_driver import drive_stage, is_retryable_failure, limit_openmp_threads


@task(retries=3, retry_delay_seconds=10, retry_condition_fn=is_retryable_failure)
def _run_stage(model: str, rollout: str, stage: Stage, step: int = 0) -> State[str]:
    """Drive a rollout through one stage until its gates pass or one of them fails.

    Args:
        model: Registered model.
        rollout: Id of the rollout.
        stage: The stage.
        step: Step of the canary, from 1; 0 in stages without steps.
    """
    limit_openmp_threads()
    return drive_stage(model, rollout, stage, max(step - 1, 0))


validate_stage = _run_stage.with_options(name="validate", task_run_name="validate")
shadow_stage = _run_stage.with_options(name="shadow", task_run_name="shadow")
live_shadow_stage = _run_stage.with_options(name="live shadow", task_run_name="live shadow")
canary_step = _run_stage.with_options(name="canary", task_run_name="canary step {step}")
