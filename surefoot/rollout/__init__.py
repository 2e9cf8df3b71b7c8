"""The use case: opens rollouts and moves them forward through ports; knows no adapter."""

from surefoot.rollout.requests import Request, adopt, end, open_promotion, open_rollback
from surefoot.rollout.steps import advance, drive
from surefoot.rollout.world import Ports

__all__ = ["Ports", "Request", "adopt", "advance", "drive", "end", "open_promotion", "open_rollback"]
