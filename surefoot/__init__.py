"""Promote MLflow model versions in stages, and roll them back when a gate fails.

What other programs may use is listed in `__all__`; each name is imported from its module when it is first asked for, so
that importing the package costs nothing.
"""

from importlib import import_module
from typing import Any

_EXPORTS = {
    "Ports": "surefoot.rollout",
    "PromotionRequest": "surefoot.rollout",
    "Settings": "surefoot.settings",
    "SurefootError": "surefoot.core.errors",
    "drive_rollout": "surefoot.rollout",
    "open_ports": "surefoot.wiring",
    "open_promotion": "surefoot.rollout",
    "open_rollback": "surefoot.rollout",
    "promotion_request": "surefoot.wiring",
    "read_policy": "surefoot.adapters.config.policy_file",
    "read_settings": "surefoot.settings",
}
__all__ = [
    "Ports",
    "PromotionRequest",
    "Settings",
    "SurefootError",
    "drive_rollout",
    "open_ports",
    "open_promotion",
    "open_rollback",
    "promotion_request",
    "read_policy",
    "read_settings",
]


def __getattr__(name: str) -> Any:
    """Import an exported name."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'surefoot' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    """Exported names."""
    return __all__
