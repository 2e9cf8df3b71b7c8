"""List the places (stages, with steps in them) that a rollout passes, in the order of the policy."""

from surefoot.core.domain import Stage
from surefoot.core.policy.policy_types import Approve, LiveShadow, Policy, Shadow

StagePlace = tuple[Stage, int]
"""A stage and the step in it: index of the weight in the ramp, or of the policy's approve step; else 0."""
WAITING_STAGES = frozenset({Stage.AWAITING_APPROVAL, Stage.HOLDING})
"""Stages in which a rollout waits for people or for a time, with what is in force staying as it is."""


def stage_places(policy: Policy) -> tuple[StagePlace, ...]:
    """Every stage and step of a promotion that goes well, in order; it holds in place between any two of them."""
    places: list[StagePlace] = [(Stage.VALIDATING, 0)]
    weights = approvals = 0
    for step in policy.steps:
        if isinstance(step, Shadow):
            places.append((Stage.SHADOWING, 0))
        elif isinstance(step, LiveShadow):
            places.append((Stage.LIVE_SHADOWING, 0))
        elif isinstance(step, Approve):
            places.append((Stage.AWAITING_APPROVAL, approvals))
            approvals += 1
        else:
            places.append((Stage.RAMPING, weights))
            weights += 1
    return (*places, (Stage.PROMOTING, 0), (Stage.BAKING, 0), (Stage.PROMOTED, 0))


def has_place(policy: Policy, stage: Stage, step: int) -> bool:
    """Whether a rollout of this policy can stand there; a journal may say what its own policy does not know."""
    places = stage_places(policy)
    if stage is Stage.HOLDING:
        return 0 <= step < len(places) - 1  # it holds after a place that another one follows
    return stage is Stage.SUBMITTED or (stage, step) in places


def place_index(policy: Policy, stage: Stage, step: int) -> int:
    """Index of a place; of a rollout that holds in place, the place that it has passed."""
    return step if stage is Stage.HOLDING else stage_places(policy).index((stage, step))


def next_place(policy: Policy, stage: Stage, step: int) -> StagePlace:
    """The place that follows."""
    return stage_places(policy)[place_index(policy, stage, step) + 1]


def judged_place(policy: Policy, stage: Stage, step: int) -> StagePlace:
    """The place whose gates are judged: the place itself, or the last one before a rollout began to wait."""
    before = stage_places(policy)[: place_index(policy, stage, step) + 1]
    return next(place for place in reversed(before) if place[0] not in WAITING_STAGES)


def has_passed(policy: Policy, at: StagePlace, place: StagePlace) -> bool:
    """Whether a rollout that is at one place has come beyond another one."""
    if at[0] is Stage.SUBMITTED:
        return False
    if at[0] is Stage.HOLDING:
        return at[1] >= place_index(policy, *place)
    return place_index(policy, *at) > place_index(policy, *place)
