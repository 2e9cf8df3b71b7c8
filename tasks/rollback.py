"""Taking a version back: traffic first, the registry after."""

from prefect import task

from surefoot import bootstrap
from surefoot.core.model import Stage
from surefoot.rollout import drive, end, open_rollback
from tasks.told import mark
from tasks.transition import ports, record, retryable


@task(name="roll back", retries=30, retry_delay_seconds=2, retry_condition_fn=retryable, timeout_seconds=1800)
def roll_back(model: str, reason: str, to: str | None) -> str:
    """Take back the open rollout, or the promoted champion; returns the id of what ended."""
    world = ports()
    before = world.ledger(model)
    if before.rollout is None or not (before.rollout.ending or before.rollout.opened.kind == "rollback"):
        before = bootstrap.insist(lambda: open_rollback(world, model, reason, to))
    if before.rollout is not None:
        opened = before.rollout.opened
        taken, back = opened.champion.number, opened.candidate.number
        if opened.kind == "promotion":
            taken, back = back, taken
        mark(before.open, f"{model}: rollback of {taken} to {back}")
    drive(world, model, until=lambda ledger: not ledger.open)
    record(model)
    return before.open


@task(name="abort", retries=30, retry_delay_seconds=2, retry_condition_fn=retryable, timeout_seconds=1800)
def abort(model: str, reason: str) -> str:
    """Stop the open rollout; returns its id."""
    world = ports()
    rollout = bootstrap.insist(lambda: end(world, model, Stage.ABORTED, reason)).open
    drive(world, model, until=lambda ledger: not ledger.open)
    record(model)
    return rollout
