"""Connect operations such as promotions to the adapters of one installation (journal, registry, gateway...)."""

from surefoot.wiring.access.access_control import AccessControl
from surefoot.wiring.access.run_requests import run_permit, run_proof, signed_request
from surefoot.wiring.adapters import (
    BUILD_WAIT_S,
    make_clock,
    make_registry,
    make_replay,
    make_version_processes,
    model_memory_mb,
    open_evidence_store,
    open_journal,
    open_traffic,
    read_registry_views,
)
from surefoot.wiring.answered_requests import log_answers
from surefoot.wiring.foreign_evidence.evidence_import import (
    IMPORT_EVERY_S,
    EvidenceImporter,
    import_evidence,
    is_import_due,
)
from surefoot.wiring.gateway_worker import build_gateway
from surefoot.wiring.log_maintenance import (
    closed_segments,
    compact_model_log,
    count_since,
    journal_counts,
    logged_models,
)
from surefoot.wiring.mlflow_runs import replace_in_mlflow_runs, write_journal_to_mlflow
from surefoot.wiring.policies import (
    broken_policies,
    candidate_promotion,
    policy_facts,
    promotion_request,
    read_policies,
)
from surefoot.wiring.traffic_engines import check_engine
from surefoot.wiring.use_case_ports import open_ports
from surefoot.wiring.version_changes import read_version_changes

__all__ = [
    "BUILD_WAIT_S",
    "IMPORT_EVERY_S",
    "AccessControl",
    "EvidenceImporter",
    "broken_policies",
    "build_gateway",
    "candidate_promotion",
    "check_engine",
    "closed_segments",
    "compact_model_log",
    "count_since",
    "import_evidence",
    "is_import_due",
    "journal_counts",
    "log_answers",
    "logged_models",
    "make_clock",
    "make_registry",
    "make_replay",
    "make_version_processes",
    "model_memory_mb",
    "open_evidence_store",
    "open_journal",
    "open_ports",
    "open_traffic",
    "policy_facts",
    "promotion_request",
    "read_policies",
    "read_registry_views",
    "read_version_changes",
    "replace_in_mlflow_runs",
    "run_permit",
    "run_proof",
    "signed_request",
    "write_journal_to_mlflow",
]
