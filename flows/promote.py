"""Promote a model version stage by stage, from validation to champion."""

from prefect import flow
from prefect.client.schemas.objects import State

from flows.count_evidence import count_evidence_before_replay
from surefoot.core.domain import Stage
from tasks.cancelled_runs import find_cancelled_state
from tasks.promote import final_rollout_state, judge_bake_once, make_champion, open_rollout
from tasks.stages import TASKS_BY_STAGE, number_task_step
from tasks.states import find_refused_state, read_task_result, run_task_after


@flow(name="promote", flow_run_name="promote {model} {version}", retries=0)
def promote(
    model: str, version: str, reason: str = "asked for by hand", force: bool = False, request: str = ""
) -> State[str]:
    """Promote one version of a model through every stage, or resume where an interrupted run stopped.

    Args:
        model: Registered model, for example flights-late. It needs a policy in configs/.
        version: Version number in the MLflow registry, for example 2.
        reason: Why, in a few words; it is kept in the record.
        force: Try again a version that has already been turned away.
        request: Who asks for it: what the command `surefoot request promote` prints. Needed where
            configs/roles.yaml says who may promote.
    """
    if cancelled := find_cancelled_state():
        return cancelled
    done = open_rollout(model, version, reason, force, request, return_state=True)
    if refused := find_refused_state(done):
        return refused
    rollout, places = read_task_result(done)
    for stage, step in places:
        if stage == Stage.SHADOWING:
            count_evidence_before_replay(model, rollout)
        done = run_task_after(TASKS_BY_STAGE[stage], model, rollout, stage, number_task_step(stage, step), after=done)
    done = run_task_after(make_champion, model, rollout, after=done)
    run_task_after(judge_bake_once, model, rollout, after=done)
    return final_rollout_state(model, rollout)


if __name__ == "__main__":
    import sys

    promote(sys.argv[1], sys.argv[2])
