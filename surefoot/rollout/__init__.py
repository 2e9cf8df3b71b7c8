"""Open, advance, roll back and reconcile rollouts through interfaces to journal, registry and gateway."""

from surefoot.rollout.advance_rollout import advance_rollout, drive_rollout
from surefoot.rollout.answer_counts import is_answer_count_due, is_exposure_list_due, journal_answer_counts
from surefoot.rollout.candidates import (
    CandidateRequest,
    candidate_requests,
    end_withdrawn_rollout,
    needs_fresh_registry_view,
    open_requested_rollout,
)
from surefoot.rollout.champion_watch import (
    build_watch_evidence_requests,
    compute_watch_thresholds,
    evaluate_champion,
    find_retraining_to_start,
    find_watched_champion,
    next_evaluation_time,
    read_champion_signals,
)
from surefoot.rollout.decisions.approvals import ApprovalView, approval_view, record_signed_decision
from surefoot.rollout.decisions.freezes import freeze_model, list_freezes, unfreeze_model
from surefoot.rollout.decisions.pauses import pause_rollout, resume_rollout
from surefoot.rollout.decisions.permitted_runs import open_permitted_promotion, open_permitted_rollback
from surefoot.rollout.dry_run import PromotionTrial, find_wanted_change, try_promotion
from surefoot.rollout.evidence_requests import due_replay_requests
from surefoot.rollout.incidents import (
    add_incident_note,
    close_incident,
    find_incident,
    lift_evidence_hold,
    open_due_incidents,
)
from surefoot.rollout.journal_differences import (
    describe_journal_behind_gateway,
    describe_split_mismatch,
    journal_champion_drift,
    list_pending_alias_changes,
    repair_champion_alias,
    repeat_alias_changes,
)
from surefoot.rollout.ports import Ports
from surefoot.rollout.reconcile import (
    CancelledRun,
    NextStep,
    adopt_champions,
    end_cancelled_rollouts,
    find_person_cancel_time,
    finish_decided_ending,
    journal_model_drift,
    list_ended_outcomes,
    next_step,
)
from surefoot.rollout.recovery.daily_fallback_check import check_fallback, is_fallback_check_due
from surefoot.rollout.recovery.drift_reactions import DriftRule, read_drift_reaction
from surefoot.rollout.recovery.drills import DRILL_RETRY_S, is_rollback_drill_due, record_drill
from surefoot.rollout.recovery.fallback_periods import begin_fallback_period, end_fallback_period
from surefoot.rollout.recovery.live_drill import (
    begin_live_drill,
    end_overdue_live_drill,
    find_live_drill_problem,
    has_live_drill_route,
    is_live_drill_overdue,
    stop_live_drill,
    take_back_live_drill,
)
from surefoot.rollout.recovery.quarantine import release_version
from surefoot.rollout.recovery.standby import choose_standby, is_rollback_target
from surefoot.rollout.recovery.table_restores import (
    check_due_checkpoints,
    checkpoints_to_check,
    describe_table_problems,
    leave_table_unrestored,
    list_pending_restores,
    restore_due_tables,
    retry_table_restore,
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
    "add_incident_note",
    "adopt_champion",
    "adopt_champions",
    "advance_rollout",
    "approval_view",
    "begin_fallback_period",
    "begin_live_drill",
    "build_watch_evidence_requests",
    "candidate_requests",
    "check_due_checkpoints",
    "check_fallback",
    "checkpoints_to_check",
    "choose_standby",
    "close_incident",
    "compute_watch_thresholds",
    "describe_journal_behind_gateway",
    "describe_split_mismatch",
    "describe_table_problems",
    "drive_rollout",
    "due_replay_requests",
    "end_cancelled_rollouts",
    "end_fallback_period",
    "end_overdue_live_drill",
    "end_rollout",
    "end_rollout_cut_by_gateway",
    "end_withdrawn_rollout",
    "evaluate_champion",
    "find_incident",
    "find_live_drill_problem",
    "find_person_cancel_time",
    "find_retraining_to_start",
    "find_wanted_change",
    "find_watched_champion",
    "finish_decided_ending",
    "freeze_model",
    "has_live_drill_route",
    "is_answer_count_due",
    "is_exposure_list_due",
    "is_fallback_check_due",
    "is_live_drill_overdue",
    "is_rollback_drill_due",
    "is_rollback_target",
    "journal_answer_counts",
    "journal_champion_drift",
    "journal_model_drift",
    "leave_table_unrestored",
    "lift_evidence_hold",
    "list_ended_outcomes",
    "list_freezes",
    "list_pending_alias_changes",
    "list_pending_restores",
    "lost_entries_message",
    "needs_fresh_registry_view",
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
    "read_champion_signals",
    "read_drift_reaction",
    "record_drill",
    "record_signed_decision",
    "release_version",
    "repair_champion_alias",
    "repeat_alias_changes",
    "restore_due_tables",
    "resume_rollout",
    "retry_on_conflict",
    "retry_table_restore",
    "stop_live_drill",
    "take_back_live_drill",
    "try_promotion",
    "unfreeze_model",
]
