"""Define a Prefect task for each stage of the promote flow."""

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
        step: Step of the canary, or number of the approval, from 1; 0 in stages without steps.
    """
    limit_openmp_threads()
    return drive_stage(model, rollout, stage, max(step - 1, 0))


_validate_stage = _run_stage.with_options(name="validate", task_run_name="validate")
_shadow_stage = _run_stage.with_options(name="shadow", task_run_name="shadow")
_live_shadow_stage = _run_stage.with_options(name="live shadow", task_run_name="live shadow")
_approval_step = _run_stage.with_options(name="approval", task_run_name="approval {step}")
_canary_step = _run_stage.with_options(name="canary", task_run_name="canary step {step}")
TASKS_BY_STAGE = {
    Stage.VALIDATING: _validate_stage,
    Stage.SHADOWING: _shadow_stage,
    Stage.LIVE_SHADOWING: _live_shadow_stage,
    Stage.AWAITING_APPROVAL: _approval_step,
    Stage.RAMPING: _canary_step,
}
"""The task of each stage before the promotion."""
_STAGES_WITH_STEPS = frozenset({Stage.AWAITING_APPROVAL, Stage.RAMPING})


def number_task_step(stage: Stage, step: int) -> int:
    """Number of a step as its task has it: from 1, and 0 in stages without steps."""
    return step + 1 if stage in _STAGES_WITH_STEPS else 0
