"""Divide the accepted false-alarm probability (alpha) among the gates."""

from collections.abc import Iterable

from surefoot.core.domain import Role
from surefoot.core.policy.policy_types import Policy

TOTAL_SHADOW_GATE_ALPHA = 0.05
"""Chance that a good candidate is turned away before any traffic, over all gates of its shadows [probability]."""


def compute_alpha_per_guardrail(policy: Policy, names: Iterable[str]) -> float:
    """Half of the budget, shared by the guardrails among these gates; signals take no part of it.

    One e-process a gate runs over the whole ramp, so its steps share nothing; the bake has the other half.
    """
    guardrails = sum(policy.gates[name].role is Role.GUARDRAIL for name in set(names))
    return policy.false_rollback_budget / 2.0 / max(guardrails, 1)


def compute_alpha_per_shadow_gate(policy: Policy) -> float:
    """Error probability of each shadow gate: the gates of all shadow steps share that of one false rejection."""
    steps = (policy.shadow, policy.live_shadow)
    return TOTAL_SHADOW_GATE_ALPHA / max(sum(len(step.gates) for step in steps if step), 1)
