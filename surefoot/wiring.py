"""Wire use cases to the adapters of one installation: open their ports, and close what was opened."""

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from surefoot.adapters.bundle.config_files import ConfigFileStore
from surefoot.adapters.champion_watch.logged_day_counts import LoggedDayCounts
from surefoot.adapters.clock import HostClock, open_clock
from surefoot.adapters.config.fallback_table import read_fallback, read_named_fallback
from surefoot.adapters.config.policy_file import list_policy_files, read_policy
from surefoot.adapters.config.setting_by_model import SettingByModel
from surefoot.adapters.datalayer.table_adapters import TableAdapters
from surefoot.adapters.evidence.mirrored_answers import MirroredAnswers
from surefoot.adapters.evidence.prediction_log_evidence import PredictionLogEvidence
from surefoot.adapters.evidence_store.evidence_store import EvidenceStore
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.adapters.last_flow_runs import record_projected_entry
from surefoot.adapters.mlflow.artifacts import ArtifactCache
from surefoot.adapters.mlflow.deleted_versions import is_version_deleted
from surefoot.adapters.mlflow.registry import MlflowRegistry
from surefoot.adapters.predictions.closed_segments import closed_segments as closed_log_segments
from surefoot.adapters.predictions.compaction import CompactionResult, compact_log
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.replay.incremental_replay import IncrementalReplay
from surefoot.adapters.replay.scoring_progress import ProgressReport
from surefoot.adapters.replay.version_processes import VersionProcesses
from surefoot.adapters.served_answers.fallback_drills import DrillSources, run_fallback_drill
from surefoot.adapters.served_answers.served_answer_counts import CountWindow, count_served_answers, primary_loss_gate
from surefoot.adapters.traffic.gateway import GatewayTraffic
from surefoot.core.domain import Outcome, Rung, Version
from surefoot.core.errors import NotFound, PolicyInvalid
from surefoot.core.journal.fallback_events import FallbackDrilled
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.journal.service_events import VersionCounts
from surefoot.core.judging.data_validation import ValidationResult
from surefoot.core.judging.evidence import MissingEvidence
from surefoot.core.policy.policy_types import Policy
from surefoot.gateway.http.app import Gateway, build_app
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.models.forkserver import Forkserver
from surefoot.models.model_process import ModelProcess, fork_process, spawn_process
from surefoot.models.model_protocols import SHADOW_NICENESS
from surefoot.rollout import (
    CandidateRequest,
    Ports,
    PromotionRequest,
    begin_fallback,
    end_cut_rollout,
    end_fallback,
    journal_answer_counts,
    retry_on_conflict,
)
from surefoot.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

_MIN_MODEL_MEMORY_MB = 4096
"""Least address space of a model's process [MB]: libraries reserve much more of it than they use."""
LOG_RETENTION_DAYS = 90
"""How long the prediction log reaches back unless told otherwise [days]."""


def make_clock(config: Settings) -> HostClock:
    """The clock that policies count in."""
    return open_clock(config.clock)


@contextmanager
def open_journal(config: Settings) -> Iterator[SqlJournal]:
    """The record of everything; its connections are closed at the end."""
    journal = SqlJournal(config.journal_url, make_clock(config))
    try:
        yield journal
    finally:
        journal.close()


def _make_artifact_cache(config: Settings) -> ArtifactCache:
    """The verified copies of model artifacts."""
    return ArtifactCache(config.home / "artifacts", config.mlflow)


def make_registry(config: Settings, deadline_s: float = 20.0) -> MlflowRegistry:
    """The model registry."""
    return MlflowRegistry(config.mlflow, _make_artifact_cache(config).fetch, deadline_s)


@contextmanager
def open_traffic(config: Settings) -> Iterator[GatewayTraffic]:
    """The engine that splits live requests; its client is closed at the end."""
    engine = GatewayTraffic(config.gateway, config.token)
    try:
        yield engine
    finally:
        engine.close()


def make_version_processes(config: Settings) -> VersionProcesses:
    """Versions in processes of their own, for those who do not serve them."""
    return VersionProcesses(_make_artifact_cache(config), model_memory_mb(2))


def make_replay(
    config: Settings, models: VersionProcesses, report: ProgressReport = lambda _done, _total: None
) -> IncrementalReplay:
    """What both versions answer to logged requests, and what was kept of it.

    Args:
        config: Where everything is.
        models: Both versions.
        report: Is told how far they have come; it must not raise.
    """
    return IncrementalReplay(PredictionLog(config.log), models.start_scorer, _evidence_folder(config), report)


@contextmanager
def open_ports(
    config: Settings,
    actor: str,
    registry_deadline_s: float = 20.0,
    report: ProgressReport = lambda _done, _total: None,
) -> Iterator[Ports]:
    """Open everything that a rollout needs, for one actor, and close it at the end.

    Args:
        config: Where everything is.
        actor: Who acts, as the journal names them.
        registry_deadline_s: How long to ask a registry that is down; people at a terminal wait less long [s].
        report: Is told how far both versions have come with the requests of a replay; it must not raise.
    """
    models, log = make_version_processes(config), PredictionLog(config.log)
    replay, days = make_replay(config, models, report), LoggedDayCounts(log).count_days
    evidence = PredictionLogEvidence(log, replay, partial(_run_suite, config), MirroredAnswers(log))
    found, tables = make_registry(config, registry_deadline_s), TableAdapters(config.project, config.home / "tables")
    files = ConfigFileStore(config.project, config.home / "bundle", _make_artifact_cache(config).verified)
    with open_journal(config) as journal, open_traffic(config) as traffic:
        clock, gone = make_clock(config), partial(is_version_deleted, config.mlflow)
        sources = DrillSources(config.project, config.log, found.resolve, models.start_scorer)

        def tried(model: str, champion: str) -> FallbackDrilled | None:
            return run_fallback_drill(sources, model, champion, clock.now())

        actions = (models.find_load_problem, days, traffic.set_standby, gone, tried)
        yield Ports(journal, found, traffic, evidence, clock, actor, *actions, tables, files, traffic.set_fallback)


def _run_suite(config: Settings, suite: str, frame: "pd.DataFrame", name: str) -> ValidationResult | MissingEvidence:
    """Hold a table against a suite as it was when the rollout opened, and write the page about it."""
    from surefoot.adapters.expectations.suite import run_suite  # noqa: PLC0415 - Great Expectations costs 5 CPU seconds
    from surefoot.reports.validation_page import render_validation_page  # noqa: PLC0415 - same

    kept = _kept(config, suite)
    if not kept.is_file() or "sha256:" + hashlib.sha256(kept.read_bytes()).hexdigest() != suite:
        return MissingEvidence(
            Outcome.ERROR, f"the suite {suite[:19]} that this rollout was opened with is gone or changed"
        )
    return run_suite(kept, frame, render_validation_page, config.home / "reports" / f"{name}.html")


def _kept(config: Settings, digest: str) -> Path:
    """Where a suite is kept as it was when a rollout opened."""
    return config.home / "suites" / f"{digest.removeprefix('sha256:')}.json"


def model_memory_mb(workers: int) -> int:
    """Address space of a model's process [MB]; what leaks in every worker leaves half of the host to others."""
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    return max(_MIN_MODEL_MEMORY_MB, host // 2 // workers)


def build_gateway(config: Settings, memory_mb: int, forkserver: Forkserver) -> Gateway:
    """The data plane of one worker, with the verified loader that it may not reach by itself."""
    cache = _make_artifact_cache(config)
    knobs = GatewaySettings(
        config.home / "gateway",
        config.token,
        kept=SettingByModel(config.configs, lambda policy: policy.log_policy),
        units=SettingByModel(config.configs, lambda policy: policy.unit),
        fallbacks=SettingByModel(config.configs, partial(read_named_fallback, config.project)),
    )

    def launched(nice: int, model: str, version: Version) -> ModelProcess:
        path = cache.verified(version, model)
        arguments = [str(path), version.digest, str(memory_mb), str(nice)]
        slowly = spawn_process([sys.executable, "-m", "surefoot.adapters.mlflow.model_host", *arguments])
        return ModelProcess(fork_process(forkserver, arguments, slowly))

    return build_app(
        knobs, make_clock(config), partial(launched, 0), partial(launched, SHADOW_NICENESS), _GatewayJournal(config)
    )


class _GatewayJournal:
    """Records in the journal what the gateway has done by itself."""

    def __init__(self, config: Settings) -> None:
        self._config = config

    def record_cut(self, model: str, rollout: str, reason: str) -> None:
        """Record a cut; raise when it is not recorded yet."""
        with open_ports(self._config, "gateway") as ports:
            end_cut_rollout(ports, model, rollout, reason)

    def record_fallback_began(
        self, model: str, champion: Version, kind: str, reason: str, standby: Version | None
    ) -> None:
        """Record that callers get answers of another rung, once."""
        with open_ports(self._config, "gateway") as ports:
            begin_fallback(ports, model, champion, kind, reason, standby)

    def record_fallback_ended(self, model: str, champion: Version, rung: Rung) -> None:
        """Record that a version above this rung answers again, once."""
        with open_ports(self._config, "gateway") as ports:
            end_fallback(ports, model, champion, rung)


def read_policies(config: Settings) -> dict[str, Policy]:
    """Every policy in configs/ that can be read; broken ones are left to `lint`."""
    found = {}
    for path in list_policy_files(config.configs):
        with suppress(PolicyInvalid, NotFound):
            found[path.stem] = read_policy(path)[1]
    return found


def broken_policies(config: Settings) -> dict[str, str]:
    """What is wrong with the policies in configs/ that cannot be read, by model."""
    found = {}
    for path in list_policy_files(config.configs):
        try:
            read_policy(path)
        except (PolicyInvalid, NotFound) as error:
            found[path.stem] = str(error)
    return found


def promotion_request(
    config: Settings, model: str, number: str, reason: str, *, force: bool = False
) -> PromotionRequest:
    """Resolve policy and suite once; later edits change nothing for this rollout.

    Raises:
        Rejected: Policy or suite are missing or wrong.
    """
    value, policy = read_policy(config.configs / f"{model}.yaml")
    suite = config.project / "expectations" / f"{policy.suite}.json"
    if not suite.is_file():
        raise NotFound(f"policy {model} names suite '{policy.suite}', but there is no {suite}")
    fallback = read_fallback(config.project, policy)
    body = suite.read_bytes()
    digest = "sha256:" + hashlib.sha256(body).hexdigest()
    kept = _kept(config, digest)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(body)
    secret = hashlib.sha256(f"assignment {config.token}".encode()).hexdigest()
    return PromotionRequest(
        value, digest, number, reason, force, secret, fallback_digest=fallback.digest if fallback else ""
    )


def candidate_promotion(config: Settings, model: str, candidate: CandidateRequest) -> PromotionRequest:
    """The request for a version that the registry asks for; raises what `promotion_request` raises."""
    return promotion_request(config, model, candidate.number, candidate.reason)


def policy_facts(config: Settings, model: str, policy: Policy) -> dict[str, str]:
    """Digests of the files that a refusal may rest on."""
    files = {
        "policy": config.configs / f"{model}.yaml",
        "suite": config.project / "expectations" / f"{policy.suite}.json",
    }
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for name, path in files.items()
    }


def project_journal(config: Settings, model: str, flow_run: str = "", upto: int | None = None) -> int:
    """Show the journal of a model, up to an entry, as MLflow runs; returns how many runs were written.

    Raises:
        Unavailable: MLflow does not answer; nothing but the view is behind.
    """
    from surefoot.adapters.mlflow.runs.projection import MlflowProjection  # noqa: PLC0415 - MLflow costs 2.6 CPU seconds
    from surefoot.adapters.mlflow.runs.run_writer import RunPlots  # noqa: PLC0415 - same
    from surefoot.reports.evidence_over_time import evidence_over_time_png  # noqa: PLC0415 - so does Matplotlib
    from surefoot.reports.verdict_plots import slice_losses_png, verdicts_png  # noqa: PLC0415 - same

    with open_journal(config) as journal:
        entries = tuple(entry for entry in journal.read(model) if upto is None or entry.seq <= upto)
    reports = {}
    for entry in entries:
        verdict = entry.data.get("verdict")
        if entry.kind == "GateJudged" and isinstance(verdict, dict) and verdict["gate"] == "data":
            page = config.home / "reports" / f"{entry.data['rollout']}.html"
            if page.is_file():
                reports[entry.seq] = page
    view = MlflowProjection(config.mlflow, RunPlots(verdicts_png, slice_losses_png, evidence_over_time_png))
    done = view.project(model, entries, flow_run, reports=reports)
    if entries:
        record_projected_entry(config.home, model, entries[-1].seq)
    return done


def logged_models(config: Settings) -> tuple[str, ...]:
    """Models of which something was logged."""
    return tuple(sorted(path.name for path in config.log.glob("*/") if not path.name.startswith(".")))


def closed_segments(config: Settings, model: str) -> tuple[str, ...]:
    """Names of the segments of a model's log that wait to be compacted.

    Raises:
        EvidenceUnavailable: The folder of the log cannot be read.
    """
    return closed_log_segments(config.log, model)


def compact_model_log(
    config: Settings, model: str, keep: float = LOG_RETENTION_DAYS, batches: int | None = None
) -> CompactionResult:
    """Turn what is closed of a model's log into Parquet, and remove what is older than is kept.

    While a rollout is open nothing is removed: its gates compare with a past that must stay as it was. What an incident
    rests on is kept until a person lifts that hold.

    Args:
        config: Where everything is.
        model: Registered model.
        keep: How long a record is kept at least [days].
        batches: Most parts to make of each kind of records [count]; all without it.

    Raises:
        SurefootError: As `surefoot.adapters.predictions.compaction.compact_log` does; or the journal cannot be read.
    """
    with open_journal(config) as journal:
        ledger = fold_entries(model, journal.read(model))
    before = None if ledger.open else min(make_clock(config).now() - keep * 86400.0, ledger.incidents.held_since)
    if before is not None and ledger.champion and before > (ledger.counted.until if ledger.counted else 0.0):
        with open_ports(config, "compaction") as ports:
            journal_counts(config, ports, model, always=True)  # what is removed can never be counted again
    done = compact_log(config.log, model, before=before, batches=batches)
    if before is not None:
        open_evidence_store(config, model).answers.remove_before(before)
    return done


def journal_counts(config: Settings, ports: Ports, model: str, *, always: bool = False) -> Ledger:
    """Journal what each version has answered since the last count, when a rollout has ended, or always.

    Raises:
        SurefootError: The log or the journal cannot be read.
    """
    gate = primary_loss_gate(read_policies(config).get(model))
    maturity = gate.maturity if gate else 0.0

    def count(since: float, until: float, labels_since: float, labels_until: float) -> tuple[VersionCounts, ...]:
        window = CountWindow(since, until, labels_since, labels_until, ports.clock.now())
        return count_served_answers(PredictionLog(config.log), model, window, gate)

    return retry_on_conflict(lambda: journal_answer_counts(ports, model, maturity, count, always=always))


def count_since(config: Settings, ledger: Ledger, now: float) -> tuple[VersionCounts, ...]:
    """What each version has answered since the last count in the journal; matured labels only.

    Raises:
        EvidenceUnavailable: The log cannot be read.
    """
    gate = primary_loss_gate(read_policies(config).get(ledger.model))
    since, labels_since = (ledger.counted.until, ledger.counted.labels_until) if ledger.counted else (0.0, 0.0)
    window = CountWindow(since, now, labels_since, now - (gate.maturity if gate else 0.0), now)
    return count_served_answers(PredictionLog(config.log), ledger.model, window, gate)


def open_evidence_store(config: Settings, model: str) -> EvidenceStore:
    """What was counted of a model's log."""
    return EvidenceStore(_evidence_folder(config), model)


def _evidence_folder(config: Settings) -> Path:
    return config.home / "evidence"
