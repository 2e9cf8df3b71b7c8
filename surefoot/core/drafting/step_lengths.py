"""Choose the length of each step in a drafted policy, long enough for an equal candidate to pass."""

from collections.abc import Mapping
from typing import Any

from surefoot.core.durations import DAY_S, HOUR_S, MINUTE_S
from surefoot.core.planning.plan import plan_policy
from surefoot.core.policy.parse import parse_policy

STEP_LENGTHS = {
    "30m": 30 * MINUTE_S,
    "1h": HOUR_S,
    "2h": 2 * HOUR_S,
    "6h": 6 * HOUR_S,
    "12h": 12 * HOUR_S,
    "1d": DAY_S,
    "2d": 2 * DAY_S,
    "3d": 3 * DAY_S,
    "5d": 5 * DAY_S,
    "7d": 7 * DAY_S,
    "10d": 10 * DAY_S,
    "14d": 14 * DAY_S,
}
"""Lengths that are drafted, as people write them [s]."""
_LONGEST = "14d"
_ROUNDS = 4
"""A longer step changes what the later ones have seen: so often lengths are fitted."""


def round_up_length(seconds: float) -> str:
    """The shortest length of the list that is at least so long; the longest where none is.

    Args:
        seconds: What is needed [s].
    """
    return next((text for text, length in STEP_LENGTHS.items() if length >= seconds), _LONGEST)


def fit_lengths(policy: Mapping[str, Any]) -> dict[str, Any]:
    """Lengthen the weights and the bake of a policy until the plan says that an equal candidate passes, or 14 days.

    Args:
        policy: A policy as JSON values; its holds and its bake are where the search begins.

    Returns:
        The policy with other lengths.

    Raises:
        Violation: It is no policy.
    """
    made = dict(policy)
    for _ in range(_ROUNDS):
        needed: dict[str, float] = {}
        for seen in plan_policy(parse_policy(made)):
            if seen.needs is not None:
                needed[seen.step] = max(needed.get(seen.step, 0.0), seen.needs)
        fitted = dict(made)
        fitted["steps"] = [_step(step, needed) for step in made["steps"]]
        fitted["bake"] = {**made["bake"], "for": _longer(made["bake"]["for"], needed.get("bake"))}
        longest = max((STEP_LENGTHS[step["hold"]["for"]] for step in fitted["steps"] if "hold" in step), default=0)
        hold = round_up_length(max(longest, 2 * HOUR_S))
        fitted["on"] = {**made["on"], "inconclusive": {"hold": hold, "then": "pause"}}
        if fitted == made:
            break
        made = fitted
    return made


def _step(step: Mapping[str, Any], needed: Mapping[str, float]) -> dict[str, Any]:
    if "hold" not in step:
        return dict(step)
    wanted = needed.get(f"weight {step['weight']:g} %")
    return {**step, "hold": {**step["hold"], "for": _longer(step["hold"]["for"], wanted)}}


def _longer(now: str, needed: float | None) -> str:
    if needed is None or needed <= STEP_LENGTHS[now]:
        return now
    return round_up_length(needed)
