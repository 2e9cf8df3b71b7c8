"""Carry out use cases through ports: open a rollout, advance it, take it back, reconcile."""

from surefoot.rollout.candidates import CandidateRequest, candidate_requests, end_withdrawn, open_wanted
from surefoot.rollout.drift import compare_champion, open_changes, repair_champion, repeat_changes, split_mismatch
from surefoot.rollout.dry_run import wanted_change
from surefoot.rollout.ports import Ports
from surefoot.rollout.reconcile import (
    CancelledRun,
    NextStep,
    adopt_champions,
    compare_model,
    end_cancelled,
    ended_outcomes,
    finish_ending,
    is_cancelled_by_person,
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
    "candidate_requests",
    "compare_champion",
    "compare_model",
    "drive",
    "end_cancelled",
    "end_cut",
    "end_rollout",
    "end_withdrawn",
    "ended_outcomes",
    "finish_ending",
    "is_cancelled_by_person",
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
    "wanted_change",
]
