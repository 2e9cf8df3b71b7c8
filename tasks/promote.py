"""Define the Prefect tasks that open a rollout, make its version champion, and evaluate it afterwards (its bake)."""

from collections.abc import Mapping
from typing import Any

from prefect import task
from prefect.client.schemas.objects import State
from prefect.states import Completed

from surefoot import wiring
from surefoot.adapters import flow_progress
from surefoot.controller.flow_scheduler import NOTHING_TO_DO_STATE
from surefoot.core.access.run_requests import RunOrder
from surefoot.core.actions import NoRollout, WaitUntil
from surefoot.core.domain import RolloutKind, Stage
from surefoot.core.errors import Forbidden, RequestInvalid, SurefootError
from surefoot.core.journal.ledger import Ledger
from surefoot.core.policy.parse import parse_policy
from surefoot.core.stages.stage_places import stage_places
from surefoot.rollout import end_cancelled_rollouts, open_permitted_promotion
from surefoot.rollout.reconcile import next_bake_action
from surefoot.settings import read_settings
from tasks.cancelled_runs import find_this_run_if_cancelled
from tasks.promote_flow_runs import identify_flow_run_attempt, name_flow_run, tag_flow_run, update_ended_runs
from tasks.stage_driver import drive_stage, is_retryable_failure, open_flow_ports, show_journal_in_mlflow
from tasks.stages import TASKS_BY_STAGE
from tasks.states import combine_states, make_refused_state, rollout_state


@task(
    name="open",
    task_run_name="open",
    retries=3,
    retry_delay_seconds=5,
    retry_condition_fn=is_retryable_failure,
    timeout_seconds=600,
)
def open_rollout(
    model: str, version: str, reason: str, force: bool, request: str = ""
) -> tuple[str, list[tuple[Stage, int]]] | State[tuple[str, list[tuple[Stage, int]]]]:
    """Open the rollout or join it; the result is FAILED when it was rejected, or when it is not known who asks for it.

    Returns:
        Id of the rollout, and the stages and steps before its promotion, in the order of its policy.
    """
    config, order = read_settings(), RunOrder("promote", model, version, force=force, reason=reason)
    asked = wiring.promotion_request(config, model, version, reason, force=force)
    permit = wiring.build_run_permit_check(config, order, request, identify_flow_run_attempt())
    with open_flow_ports() as ports:
        try:
            rollout = open_permitted_promotion(ports, model, asked, permit)
        except (RequestInvalid, Forbidden) as error:
            return make_refused_state(error)
        tag_flow_run(rollout)
        # Cancelled while this ran: whatever the instant, the rollout that this run has opened ends with it.
        if run := find_this_run_if_cancelled(model, version, rollout):
            end_cancelled_rollouts(ports, [run])
        ledger = ports.ledger(model)
    policy = parse_policy(ledger.rollouts[rollout].opened.policy)
    found = rollout, [place for place in stage_places(policy) if place[0] in TASKS_BY_STAGE]
    return rollout_state(ledger, rollout, found) if ledger.open != rollout else found


@task(
    name="promote",
    task_run_name="promote",
    retries=5,
    retry_delay_seconds=10,
    retry_condition_fn=is_retryable_failure,
    timeout_seconds=3600,
)
def make_champion(model: str, rollout: str) -> State[str]:
    """Make the rollout's version champion: move alias `previous`, then `champion`, then all traffic."""
    return drive_stage(model, rollout, Stage.PROMOTING)


@task(
    name="bake",
    task_run_name="bake {model}",
    retries=3,
    retry_delay_seconds=10,
    retry_condition_fn=is_retryable_failure,
    timeout_seconds=3600,
)
def judge_bake_once(model: str, rollout: str) -> State[str]:
    """Evaluate a promoted version once in its bake, when it serves everything; the `watch` flow evaluates it again."""
    return drive_stage(model, rollout, Stage.BAKING, wait=False)


def due_bakes() -> dict[str, str]:
    """Rollouts in their bake (observed after promotion) that are due for an evaluation, by model.

    A rollout whose policy cannot be read is among them: its own task fails of that, and no other.
    """
    flow_progress.record_heartbeat(read_settings().home, "watch")
    with open_flow_ports() as ports:
        ledgers = {model: ports.ledger(model) for model in ports.journal.models()}
        now = ports.clock.now()
    return {model: ledger.open for model, ledger in ledgers.items() if _is_due(ledger, now)}


def _is_due(ledger: Ledger, now: float) -> bool:
    if ledger.rollout is None or ledger.rollout.stage is not Stage.BAKING:
        return False
    try:
        return not isinstance(next_bake_action(ledger, now), WaitUntil | NoRollout)
    except SurefootError:
        return True


def final_rollout_state(model: str, rollout: str, kind: RolloutKind = RolloutKind.PROMOTION) -> State[str]:
    """The flow's own last state: named for where the rollout stands, with the reason in words.

    A rollout that was turned away is FAILED, and never retried: the journal says that nothing is left to do.

    Args:
        model: Registered model.
        rollout: Id of the rollout.
        kind: What the flow is for.
    """
    show_journal_in_mlflow(model)
    tag_flow_run(rollout)
    with open_flow_ports() as ports:
        return rollout_state(ports.ledger(model), rollout, kind=kind)


def final_watch_state(states: Mapping[str, State[Any]]) -> State[Any] | list[State[Any]]:
    """The last state of a flow that looked at bakes; runs whose bake ended in it are told so at once.

    Args:
        states: State of each look, by model.
    """
    if any(state.name not in {"Completed", Stage.BAKING} for state in states.values()):
        update_ended_runs()
    if not states:
        return Completed(name=NOTHING_TO_DO_STATE, message="no look is due")
    name_flow_run(f"watch: looked at {', '.join(states)}")
    return combine_states(list(states.values()))
