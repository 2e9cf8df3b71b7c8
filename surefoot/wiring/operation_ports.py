"""Build the ports (interfaces to the outside world) that one operation, such as a promotion, needs."""

import hashlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from surefoot.adapters.approvals.approver_files import ApproverFiles
from surefoot.adapters.bundle.config_files import ConfigFileStore
from surefoot.adapters.champion_watch.logged_day_counts import LoggedDayCounts
from surefoot.adapters.datalayer.table_adapters import TableAdapters
from surefoot.adapters.evidence.mirrored_answers import MirroredAnswers
from surefoot.adapters.evidence.prediction_log_evidence import PredictionLogEvidence
from surefoot.adapters.freeze.freeze_calendar import read_open_window
from surefoot.adapters.mlflow.artifact_contents import read_artifact_contents
from surefoot.adapters.mlflow.deleted_versions import is_version_deleted
from surefoot.adapters.mlflow.version_facts import VersionFactReader
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.replay.scoring_progress import ProgressReport
from surefoot.adapters.served_answers.fallback_checks import FallbackCheckSources, run_fallback_check
from surefoot.core.domain import Outcome
from surefoot.core.journal.fallback_events import FallbackDrilled
from surefoot.core.judging.data_validation import ValidationResult
from surefoot.core.judging.evidence import MissingEvidence
from surefoot.rollout import (
    Ports,
)
from surefoot.settings import Settings
from surefoot.wiring.adapters import (
    ENVIRONMENT_BUILD_WAIT_S,
    make_artifact_cache,
    make_clock,
    make_registry,
    make_replay,
    make_version_processes,
    open_gateway_traffic,
    open_journal,
)
from surefoot.wiring.foreign_evidence.evidence_import import EvidenceImporter
from surefoot.wiring.foreign_evidence.imported_evidence import ImportedEvidence
from surefoot.wiring.foreign_evidence.prometheus_evidence import PrometheusEvidence
from surefoot.wiring.policies import locate_suite_file
from surefoot.wiring.signatures import check_version_signature
from surefoot.wiring.traffic_engines import build_engine_client, wanted_engine

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def open_ports(
    config: Settings,
    actor: str,
    registry_deadline_s: float = 20.0,
    report: ProgressReport = lambda _done, _total: None,
    build_wait_s: float = ENVIRONMENT_BUILD_WAIT_S,
) -> Iterator[Ports]:
    """Open the ports that an operation needs (journal, registry, gateway...), for one actor; close them at the end.

    Args:
        config: Where everything is.
        actor: Who acts, as the journal names them.
        registry_deadline_s: How long to ask a registry that is down; people at a terminal wait less long [s].
        report: Is told how far both versions have come with the requests of a replay; it must not raise.
        build_wait_s: How long to wait for the environment of a version that is being built [seconds].
    """
    models, log = make_version_processes(config, build_wait_s), PredictionLog(config.log)
    replay, days = make_replay(config, models, report), LoggedDayCounts(log).count_days
    recorded = PredictionLogEvidence(log, replay, partial(_run_suite, config), MirroredAnswers(log))
    evidence = ImportedEvidence(log, EvidenceImporter(config), recorded, PrometheusEvidence(config).gather)
    found, tables = make_registry(config, registry_deadline_s), TableAdapters(config.project, config.home / "tables")
    files = ConfigFileStore(config.project, config.home / "bundle", make_artifact_cache(config).verified)
    facts = VersionFactReader(config.mlflow, registry_deadline_s)
    # The processes of both versions end here, and not when they happen to be collected.
    with open_journal(config) as journal, open_gateway_traffic(config) as traffic, closing(replay):
        clock, gone = make_clock(config), partial(is_version_deleted, config.mlflow)
        sources = FallbackCheckSources(config.project, config.log, found.resolve, models.start_scorer)

        def tried(model: str, champion: str) -> FallbackDrilled | None:
            return run_fallback_check(sources, model, champion, clock.now())

        yield Ports(
            journal,
            found,
            traffic,
            evidence,
            clock,
            actor,
            models.find_load_problem,
            days,
            traffic.set_standby,
            gone,
            tried,
            tables,
            files,
            traffic.set_fallback,
            approvers=ApproverFiles(config.configs),
            version_claims=facts.claims,
            version_facts=lambda model, version: facts.facts(
                model, version.number, lambda: make_artifact_cache(config).verified(version, model)
            ),
            artifact_contents=lambda model, version: read_artifact_contents(
                make_artifact_cache(config).verified(version, model)
            ),
            check_signature=partial(check_version_signature, config),
            calendar_freeze=lambda: read_open_window(config.configs, clock.now()),
            other_engine=partial(build_engine_client, config, deadline_s=registry_deadline_s),
            wanted_engine=partial(wanted_engine, config),
        )


def _run_suite(config: Settings, suite: str, frame: "pd.DataFrame", name: str) -> ValidationResult | MissingEvidence:
    """Hold a table against a suite as it was when the rollout opened, and write the page about it."""
    from surefoot.adapters.expectations.suite import run_suite  # noqa: PLC0415 - Great Expectations costs 5 CPU seconds
    from surefoot.reports.validation_page import render_validation_page  # noqa: PLC0415 - same

    kept = locate_suite_file(config, suite)
    if not kept.is_file() or "sha256:" + hashlib.sha256(kept.read_bytes()).hexdigest() != suite:
        return MissingEvidence(
            Outcome.ERROR, f"the suite {suite[:19]} that this rollout was opened with is gone or changed"
        )
    return run_suite(kept, frame, render_validation_page, config.home / "reports" / f"{name}.html")
