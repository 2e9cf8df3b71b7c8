"""Keep judging what bakes; a version that slips after its promotion is taken back."""

from prefect import flow

from tasks.promote import bake, baking, models


@flow(name="watch")
def watch() -> dict[str, str]:
    """Take one look at every version that bakes; returns the stage of each."""
    return {model: bake(model, rollout) for model in models() if (rollout := baking(model))}
