"""Determine whether a rollout's candidate may have answered callers."""

from collections.abc import Iterable, Mapping

from surefoot.core.journal.events import Effect, RolloutOpened, SetAlias, SetSplit
from surefoot.core.serving_engines.engine_abilities import EngineName


def may_have_answered(effects: Iterable[Effect], opened: RolloutOpened) -> bool:
    """Whether the candidate of a rollout may have answered callers under some split.

    Args:
        effects: What was applied, or may have been.
        opened: The event that opened the rollout.
    """
    candidate, by_alias = opened.candidate, _is_served_by_alias(opened)
    return any(
        _gives_traffic(effect, candidate.digest)
        or (
            by_alias
            and isinstance(effect, SetAlias)
            and effect.alias == "champion"
            and effect.number == candidate.number
        )
        for effect in effects
    )


def _gives_traffic(effect: Effect, digest: str) -> bool:
    return (
        isinstance(effect, SetSplit)
        and not effect.is_live_drill
        and (effect.champion.digest == digest or (effect.candidate is not None and effect.weight > 0.0))
    )


def _is_served_by_alias(opened: RolloutOpened) -> bool:
    """Whether applications load what alias champion points to, so that the alias alone moves traffic."""
    traffic = opened.policy.get("traffic")
    return isinstance(traffic, Mapping) and traffic.get("engine") == EngineName.ALIAS
