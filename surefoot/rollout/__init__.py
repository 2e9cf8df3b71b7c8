"""Open, advance, roll back and reconcile rollouts through interfaces to journal, registry and gateway."""

from surefoot.rollout.advance_rollout import advance_rollout, drive_rollout
from surefoot.rollout.answer_counts import is_count_due, is_exposure_list_due, journal_answer_counts
from surefoot.rollout.candidates import (
    CandidateRequest,
    candidate_requests,
    end_withdrawn_rollout,
    needs_fresh_view,
    open_requested_rollout,
)
from surefoot.rollout.champion_watch import (
    evaluate_champion,
    next_evaluation_time,
    read_champion_signals,
    retraining_to_start,
    watch_requests,
    watch_thresholds,
    watched_champion,
)
from surefoot.rollout.decisions.approvals import ApprovalView, approval_view, record_signed_text
from surefoot.rollout.decisions.freezes import freeze_model, list_freezes, unfreeze_model
from surefoot.rollout.decisions.pauses import pause_rollout, resume_rollout
from surefoot.rollout.decisions.permitted_runs import open_permitted_promotion, open_permitted_rollback
from surefoot.rollout.dry_run import PromotionTrial, try_promotion, wanted_change
from surefoot.rollout.evidence_requests import due_replay_requests
from surefoot.rollout.incidents import add_note, close_incident, find_incident, lift_hold, open_due_incidents
from surefoot.rollout.journal_differences import (
    journal_behind_gateway_message,
    journal_champion_drift,
    pending_alias_changes,
    repair_champion_alias,
    repeat_alias_changes,
    split_mismatch,
)
from surefoot.rollout.ports import Ports
from surefoot.rollout.reconcile import (
    CancelledRun,
    NextStep,
    adopt_champions,
    cancelled_by_person_at,
    end_cancelled_rollouts,
    ended_outcomes,
    finish_decided_ending,
    journal_model_drift,
    next_step,
)
from surefoot.rollout.recovery.daily_fallback_check import check_fallback, is_fallback_check_due
from surefoot.rollout.recovery.drift_reactions import DriftRule, policy_reaction
from surefoot.rollout.recovery.drills import DRILL_RETRY_S, is_rehearsal_due, record_drill
from surefoot.rollout.recovery.fallback_periods import begin_fallback, end_fallback
from surefoot.rollout.recovery.live_drill import (
    begin_live_drill,
    end_overdue_live_drill,
    is_live_drill_overdue,
    is_live_drill_route_left,
    live_drill_problem,
    stop_live_drill,
    take_back_live_drill,
)
from surefoot.rollout.recovery.quarantine import release_version
from surefoot.rollout.recovery.standby import is_rollback_target, wanted_standby
from surefoot.rollout.recovery.table_restores import (
    check_due_checkpoints,
    checkpoints_to_check,
    leave_table,
    pending_tables,
    restore_due_tables,
    retry_table,
    table_problems,
)
from surefoot.rollout.rollout_commands import (
    PromotionRequest,
    adopt_champion,
    end_rollout,
    end_rollout_cut_by_gateway,
    open_promotion,
    open_rollback,
    retry_on_conflict,
)

__all__ = [
    "DRILL_RETRY_S",
    "ApprovalView",
    "CancelledRun",
    "CandidateRequest",
    "DriftRule",
    "NextStep",
    "Ports",
    "PromotionRequest",
    "PromotionTrial",
    "add_note",
    "adopt_champion",
    "adopt_champions",
    "advance_rollout",
    "approval_view",
    "begin_fallback",
    "begin_live_drill",
    "cancelled_by_person_at",
    "candidate_requests",
    "check_due_checkpoints",
    "check_fallback",
    "checkpoints_to_check",
    "close_incident",
    "drive_rollout",
    "due_replay_requests",
    "end_cancelled_rollouts",
    "end_fallback",
    "end_overdue_live_drill",
    "end_rollout",
    "end_rollout_cut_by_gateway",
    "end_withdrawn_rollout",
    "ended_outcomes",
    "evaluate_champion",
    "find_incident",
    "finish_decided_ending",
    "freeze_model",
    "is_count_due",
    "is_exposure_list_due",
    "is_fallback_check_due",
    "is_live_drill_overdue",
    "is_live_drill_route_left",
    "is_rehearsal_due",
    "is_rollback_target",
    "journal_answer_counts",
    "journal_behind_gateway_message",
    "journal_champion_drift",
    "journal_model_drift",
    "leave_table",
    "lift_hold",
    "list_freezes",
    "live_drill_problem",
    "lost_entries_message",
    "needs_fresh_view",
    "next_evaluation_time",
    "next_step",
    "next_watch",
    "open_due_incidents",
    "open_permitted_promotion",
    "open_permitted_rollback",
    "open_promotion",
    "open_requested_rollout",
    "open_rollback",
    "pause_rollout",
    "pending_alias_changes",
    "pending_tables",
    "policy_reaction",
    "read_champion_signals",
    "record_drill",
    "record_signed_text",
    "release_version",
    "repair_champion_alias",
    "repeat_alias_changes",
    "restore_due_tables",
    "resume_rollout",
    "retraining_to_start",
    "retry_on_conflict",
    "retry_table",
    "split_mismatch",
    "stop_live_drill",
    "table_problems",
    "take_back_live_drill",
    "try_promotion",
    "unfreeze_model",
    "wanted_change",
    "wanted_standby",
    "watch_requests",
    "watch_thresholds",
    "watched_champion",
]
