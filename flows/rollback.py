"""Roll back a version by moving traffic to the last good version."""

from typing import Literal

from prefect import flow
from prefect.client.schemas.objects import State

from surefoot.core.domain import RolloutKind
from tasks.promote import final_rollout_state
from tasks.rollback import roll_back
from tasks.states import find_refused_state, read_task_result


@flow(name="rollback", flow_run_name="roll back {model}")
def rollback(
    model: str,
    reason: str,
    to: str | None = None,
    mode: Literal["immediate", "stepped"] | None = None,
    request: str = "",
) -> State[str]:
    """Roll back the version under rollout, or the promoted champion.

    Args:
        model: Registered model, for example flights-late.
        reason: Why, in a few words; it is kept in the record.
        to: Proven-good version to go back to; the last one when left empty.
        mode: At once or step by step; what the policy says when left empty. "immediate" finishes one that is stepping.
        request: Who asks for it: what the command `surefoot request rollback` prints. Needed where
            configs/roles.yaml says who may roll back.
    """
    done = roll_back(model, reason, to, mode, request, return_state=True)
    if refused := find_refused_state(done):
        return refused
    return final_rollout_state(model, read_task_result(done), kind=RolloutKind.ROLLBACK)
