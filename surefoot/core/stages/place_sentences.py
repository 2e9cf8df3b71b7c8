"""Describe in words what a rollout does at a place, which is a stage and a step in it."""

from surefoot.core.domain import Stage
from surefoot.core.policy.policy_types import Policy
from surefoot.core.stages.stage_places import StagePlace


def describe_place(policy: Policy, place: StagePlace, number: str) -> str:
    """What happens at a stage and step, for the version of a number."""
    stage, step = place
    match stage:
        case Stage.LIVE_SHADOWING if policy.live_shadow:
            return f"{policy.live_shadow.share:g} % of the requests are mirrored to version {number}"
        case Stage.RAMPING:
            return f"version {number} answers {policy.ramp[step].weight:g} % of the units"
        case Stage.AWAITING_APPROVAL:
            asked = policy.approvals[step]
            people = "1 person" if asked.quorum == 1 else f"{asked.quorum} people"
            return f"{people} of group '{asked.by}' are asked for another approval"
        case Stage.PROMOTING:
            return f"version {number} becomes the champion and answers everything"
        case _:
            return f"version {number} enters {stage}"
