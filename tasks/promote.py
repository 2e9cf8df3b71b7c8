"""Opening and committing: the first and the last word of a promotion."""

from prefect import task
from prefect.client.schemas.objects import State
from prefect.states import Completed

from surefoot import bootstrap
from surefoot.adapters import ticks
from surefoot.core.model import Stage
from surefoot.rollout import open_promotion
from tasks.transition import ports, record, retryable, through


@task(
    name="open",
    task_run_name="open",
    retries=3,
    retry_delay_seconds=5,
    retry_condition_fn=retryable,
    timeout_seconds=600,
)
def open_(model: str, version: str, reason: str, force: bool) -> tuple[str, int]:
    """Open the rollout, or join it; returns its id and how many rungs its ramp has."""
    world = ports()
    request = bootstrap.request(bootstrap.settings(), model, version, reason, force=force)
    rollout = open_promotion(world, request)
    opened = world.ledger(model).rollouts[rollout].opened
    steps = opened.policy["steps"]
    return rollout, sum("weight" in step for step in steps) if isinstance(steps, list) else 0


@task(
    name="promote",
    task_run_name="promote",
    retries=5,
    retry_delay_seconds=10,
    retry_condition_fn=retryable,
    timeout_seconds=3600,
)
def promote_(model: str, rollout: str) -> str:
    """Move `previous`, then `champion`, then all traffic."""
    through(model, rollout, Stage.PROMOTING)
    return rollout


@task(
    name="bake",
    task_run_name="bake {model}",
    retries=3,
    retry_delay_seconds=10,
    retry_condition_fn=retryable,
    timeout_seconds=3600,
)
def bake(model: str, rollout: str) -> str:
    """Take one look at a version that serves everything; the `watch` flow comes back for the next one."""
    return through(model, rollout, Stage.BAKING, wait=False)


def baking(model: str) -> str:
    """Id of the rollout that bakes, or nothing."""
    ledger = ports().ledger(model)
    return ledger.open if ledger.rollout and ledger.rollout.stage is Stage.BAKING else ""


def closing(model: str, rollout: str) -> State[str]:
    """The flow's own last state: named for where the rollout stands, with the reason in words."""
    record(model)
    found = ports().ledger(model).rollouts[rollout]
    # A rollout that was turned away is an answer, not a failure of the flow: its name says which.
    return Completed(name=found.stage.value, message=f"version {found.opened.candidate.number}: {found.reason}"[:2000])


def models() -> tuple[str, ...]:
    """Every model with a record; a policy file that was broken since does not end a watch."""
    ticks.note(bootstrap.settings().home, "watch")
    return ports().journal.models()
