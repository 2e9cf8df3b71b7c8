"""Provide traffic splits as feature flags, to applications that load models themselves."""

from surefoot.feature_flags.provider import SurefootProvider

__all__ = ["SurefootProvider"]
