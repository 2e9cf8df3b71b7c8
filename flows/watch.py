"""Judge promoted versions that still bake, and roll back one whose gates fail."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.promote import due_bakes, final_watch_state, judge_bake_once


@flow(name="watch", retries=0)
def watch() -> State[Any] | list[State[Any]]:
    """Take one look at every version that bakes and is due; one that cannot be looked at does not hide the others."""
    return final_watch_state(
        {model: judge_bake_once(model, rollout, return_state=True) for model, rollout in due_bakes().items()}
    )
