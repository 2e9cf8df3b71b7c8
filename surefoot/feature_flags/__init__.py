"""Feature flags for applications that load models themselves: which version answers this customer?"""

from surefoot.feature_flags.provider import SurefootProvider

__all__ = ["SurefootProvider"]
