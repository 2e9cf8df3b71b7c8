"""Provide traffic splits as feature flags, to applications that load models themselves."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surefoot.feature_flags.provider import SurefootProvider

__all__ = ["SurefootProvider"]


def __getattr__(name: str) -> Any:
    """Import the provider when it is asked for: it needs an extra, and the status page needs the rest without it."""
    if name != "SurefootProvider":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from surefoot.feature_flags.provider import SurefootProvider  # noqa: PLC0415 - see above

    return SurefootProvider
