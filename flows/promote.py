"""Validate, shadow, ramp, promote; the bake that follows is watched by `watch`."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.canary import canary
from tasks.promote import bake, closing, open_, promote_
from tasks.shadow import shadow
from tasks.states import follow, result
from tasks.validate import validate


@flow(name="promote", flow_run_name="promote {model} {version}", retries=0)
def promote(model: str, version: str, reason: str = "asked for by hand", force: bool = False) -> State[str]:
    """Promote one version of a model through every stage, or resume where an interrupted run stopped.

    Args:
        model: Registered model, for example flights-late. It needs a policy in configs/.
        version: Version number in the MLflow registry, for example 2.
        reason: Why, in a few words; it is kept in the record.
        force: Try again a version that has already been turned away.
    """
    done = open_(model, version, reason, force, return_state=True)
    rollout, steps = result(done)
    done = follow(validate, model, rollout, after=done)
    done = follow(shadow, model, rollout, after=done)
    for step in range(1, steps + 1):
        done = follow(canary, model, rollout, step, after=done)
    done = follow(promote_, model, rollout, after=done)
    follow(bake, model, rollout, after=done)
    return closing(model, rollout)


if __name__ == "__main__":
    import sys

    promote(sys.argv[1], sys.argv[2])
