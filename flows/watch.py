"""Evaluate the gates of promoted versions while they serve."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.promote import due_bakes, final_watch_state, judge_bake_once
from tasks.watch import due_champions, watch_champion_once


@flow(name="watch", retries=0)
def watch() -> State[Any] | list[State[Any]]:
    """Evaluate the gates once for every version that is due; an error of one version does not stop the others."""
    looks = {model: judge_bake_once(model, rollout, return_state=True) for model, rollout in due_bakes().items()}
    looks |= {model: watch_champion_once(model, return_state=True) for model in due_champions() if model not in looks}
    return final_watch_state(looks)
