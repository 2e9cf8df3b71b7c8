"""Connect operations such as promotions to the adapters of one installation (journal, registry, gateway...)."""

from surefoot.wiring.access.access_control import AccessControl
from surefoot.wiring.access.run_requests import build_request_to_sign, build_run_permit_check, prove_run_request
from surefoot.wiring.adapters import (
    ENVIRONMENT_BUILD_WAIT_S,
    compute_model_memory_mb,
    make_clock,
    make_registry,
    make_replay,
    make_version_processes,
    open_evidence_store,
    open_gateway_traffic,
    open_journal,
    read_registry_views,
)
from surefoot.wiring.answered_requests import log_answers
from surefoot.wiring.foreign_evidence.evidence_import import (
    IMPORT_INTERVAL_S,
    EvidenceImporter,
    import_evidence,
    is_import_due,
)
from surefoot.wiring.gateway_worker import build_gateway
from surefoot.wiring.log_maintenance import (
    closed_segments,
    compact_model_log,
    count_unjournalled_answers,
    list_logged_models,
    record_answer_counts,
)
from surefoot.wiring.mlflow_runs import replace_in_mlflow_runs, write_journal_to_mlflow
from surefoot.wiring.operation_ports import open_ports
from surefoot.wiring.policies import (
    build_candidate_promotion_request,
    find_broken_policies,
    hash_policy_files,
    promotion_request,
    read_policies,
)
from surefoot.wiring.traffic_engines import check_engine
from surefoot.wiring.version_changes import read_version_changes

__all__ = [
    "ENVIRONMENT_BUILD_WAIT_S",
    "IMPORT_INTERVAL_S",
    "AccessControl",
    "EvidenceImporter",
    "build_candidate_promotion_request",
    "build_gateway",
    "build_request_to_sign",
    "build_run_permit_check",
    "check_engine",
    "closed_segments",
    "compact_model_log",
    "compute_model_memory_mb",
    "count_unjournalled_answers",
    "find_broken_policies",
    "hash_policy_files",
    "import_evidence",
    "is_import_due",
    "list_logged_models",
    "log_answers",
    "make_clock",
    "make_registry",
    "make_replay",
    "make_version_processes",
    "open_evidence_store",
    "open_gateway_traffic",
    "open_journal",
    "open_ports",
    "promotion_request",
    "prove_run_request",
    "read_policies",
    "read_registry_views",
    "read_version_changes",
    "record_answer_counts",
    "replace_in_mlflow_runs",
    "write_journal_to_mlflow",
]
