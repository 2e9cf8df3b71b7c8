"""The use case: opens rollouts and moves them forward through ports; knows no adapter."""

from surefoot.rollout.candidates import Wish, open_wanted, withdraw
from surefoot.rollout.drift import compare_champion, open_changes, repair, repeat_changes
from surefoot.rollout.requests import Request, adopt, end, lost_entries, open_promotion, open_rollback
from surefoot.rollout.steps import advance, drive
from surefoot.rollout.world import Ports

__all__ = [
    "Ports",
    "Request",
    "Wish",
    "adopt",
    "advance",
    "compare_champion",
    "drive",
    "end",
    "lost_entries",
    "open_changes",
    "open_promotion",
    "open_rollback",
    "open_wanted",
    "repair",
    "repeat_changes",
    "withdraw",
]
