"""Keep judging what bakes; a version that slips after its promotion is taken back."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.promote import bake, due_bakes, looked


@flow(name="watch", retries=0)
def watch() -> State[Any] | list[State[Any]]:
    """Take one look at every version that bakes and is due; one that cannot be looked at does not hide the others."""
    return looked({model: bake(model, rollout, return_state=True) for model, rollout in due_bakes().items()})
