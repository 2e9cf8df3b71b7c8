"""Keep judging what bakes; a version that slips after its promotion is taken back."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.promote import bake, baking, models


@flow(name="watch")
def watch() -> list[State[str]]:
    """Take one look at every version that bakes; one that cannot be looked at does not hide the others."""
    return [bake(model, rollout, return_state=True) for model in models() if (rollout := baking(model))]
