"""Carry out use cases through ports: open a rollout, advance it, take it back, reconcile."""

from surefoot.rollout.candidates import CandidateRequest, end_withdrawn, open_wanted
from surefoot.rollout.drift import compare_champion, open_changes, repair_champion, repeat_changes, split_mismatch
from surefoot.rollout.ports import Ports
from surefoot.rollout.reconcile import (
    CancelledRun,
    NextStep,
    adopt_champions,
    compare_model,
    end_cancelled,
    finish_ending,
    next_step,
)
from surefoot.rollout.requests import (
    PromotionRequest,
    adopt_champion,
    end_cut,
    end_rollout,
    lost_entries,
    open_promotion,
    open_rollback,
    retry_on_conflict,
)
from surefoot.rollout.steps import advance, drive

__all__ = [
    "CancelledRun",
    "CandidateRequest",
    "NextStep",
    "Ports",
    "PromotionRequest",
    "adopt_champion",
    "adopt_champions",
    "advance",
    "compare_champion",
    "compare_model",
    "drive",
    "end_cancelled",
    "end_cut",
    "end_rollout",
    "end_withdrawn",
    "finish_ending",
    "lost_entries",
    "next_step",
    "open_changes",
    "open_promotion",
    "open_rollback",
    "open_wanted",
    "repair_champion",
    "repeat_changes",
    "retry_on_conflict",
    "split_mismatch",
]
