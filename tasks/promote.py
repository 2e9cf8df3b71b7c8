"""Start and finish a promotion in Prefect tasks."""

from collections.abc import Sequence
from typing import Any

from prefect import task
from prefect.client.schemas.objects import State

from surefoot import wiring
from surefoot.adapters import heartbeats
from surefoot.core.domain import RolloutKind, Stage
from surefoot.core.policy.parse import parse
from surefoot.rollout import open_promotion
from surefoot.settings import read_settings
from tasks.ended_runs import tag_run, update_ended_runs
from tasks.stage_driver import drive_stage, flow_ports, is_retryable, project_record
from tasks.states import combined_state, state_of


@task(
    name="open",
    task_run_name="open",
    retries=3,
    retry_delay_seconds=5,
    retry_condition_fn=is_retryable,
    timeout_seconds=600,
)
def open_(model: str, version: str, reason: str, force: bool) -> tuple[str, bool, int] | State[tuple[str, bool, int]]:
    """Open the rollout or join it; the result is FAILED when it was rejected.

    Returns:
        Id of the rollout, whether it has a live shadow, and the number of its weight steps.
    """
    request = wiring.promotion_request(read_settings(), model, version, reason, force=force)
    with flow_ports() as ports:
        rollout = open_promotion(ports, request)
        tag_run(rollout)
        ledger = ports.ledger(model)
    policy = parse(ledger.rollouts[rollout].opened.policy)
    found = rollout, policy.live_shadow is not None, len(policy.ramp)
    return state_of(ledger, rollout, found) if ledger.open != rollout else found


@task(
    name="promote",
    task_run_name="promote",
    retries=5,
    retry_delay_seconds=10,
    retry_condition_fn=is_retryable,
    timeout_seconds=3600,
)
def promote_(model: str, rollout: str) -> State[str]:
    """Move `previous`, then `champion`, then all traffic."""
    return drive_stage(model, rollout, Stage.PROMOTING)


@task(
    name="bake",
    task_run_name="bake {model}",
    retries=3,
    retry_delay_seconds=10,
    retry_condition_fn=is_retryable,
    timeout_seconds=3600,
)
def bake(model: str, rollout: str) -> State[str]:
    """Take one look at a version that serves everything; the `watch` flow comes back for the next one."""
    return drive_stage(model, rollout, Stage.BAKING, wait=False)


def baking(model: str) -> str:
    """Id of the rollout that bakes, or nothing."""
    with flow_ports() as ports:
        ledger = ports.ledger(model)
    return ledger.open if ledger.rollout and ledger.rollout.stage is Stage.BAKING else ""


def closing(model: str, rollout: str, kind: RolloutKind = RolloutKind.PROMOTION) -> State[str]:
    """The flow's own last state: named for where the rollout stands, with the reason in words.

    A rollout that was turned away is FAILED, and never retried: the journal says that nothing is left to do.

    Args:
        model: Registered model.
        rollout: Id of the rollout.
        kind: What the flow is for.
    """
    project_record(model)
    tag_run(rollout)
    with flow_ports() as ports:
        return state_of(ports.ledger(model), rollout, kind=kind)


def looked(states: Sequence[State[Any]]) -> State[Any] | list[State[Any]]:
    """The last state of a flow that looked at bakes; runs whose bake ended in it are told so at once."""
    if any(state.name != "Completed" for state in states):
        update_ended_runs()
    return combined_state(states)


def models() -> tuple[str, ...]:
    """Every model with a record; a policy file that was broken since does not end a watch."""
    heartbeats.record_heartbeat(read_settings().home, "watch")
    with flow_ports() as ports:
        return ports.journal.models()
