"""Determine from a rollout's traffic changes whether a version may have answered callers."""

from collections.abc import Iterable

from surefoot.core.journal.events import Effect, SetSplit


def may_have_answered(effects: Iterable[Effect], digest: str) -> bool:
    """Whether a version may have answered callers under some split.

    Args:
        effects: What was applied, or may have been.
        digest: Digest of the version.
    """
    return any(
        isinstance(effect, SetSplit)
        and not effect.is_live_drill
        and (effect.champion.digest == digest or (effect.candidate is not None and effect.weight > 0.0))
        for effect in effects
    )
