"""Build or open an installation's adapters, such as those for journal, registry, gateway, replay and evidence."""

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from surefoot.adapters.clock import ClockWithHostTime, build_clock
from surefoot.adapters.config.setting_by_model import SettingByModel
from surefoot.adapters.evidence_store.evidence_store import EvidenceStore
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.adapters.mlflow.artifacts import ArtifactCache
from surefoot.adapters.mlflow.registry import MlflowRegistry
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.replay.incremental_replay import IncrementalReplay
from surefoot.adapters.replay.scoring_progress import ProgressReport
from surefoot.adapters.replay.version_processes import VersionProcesses
from surefoot.adapters.traffic.gateway import GatewayTraffic
from surefoot.core.domain import RegistryView
from surefoot.core.errors import SurefootError
from surefoot.models.environments.version_environments import VersionEnvironments
from surefoot.settings import Settings
from surefoot.tls_files import make_client_context

ENVIRONMENT_BUILD_WAIT_S = 540.0
"""How long flows and commands wait for an environment; the time limit of the task that opens a rollout is above it."""
_MIN_MODEL_MEMORY_MB = 4096
"""Least address space of a model's process [MB]: libraries reserve much more of it than they use."""


def make_clock(config: Settings) -> ClockWithHostTime:
    """The clock that policies count in."""
    return build_clock(config.clock)


@contextmanager
def open_journal(config: Settings) -> Iterator[SqlJournal]:
    """The journal; its connections are closed at the end."""
    journal = SqlJournal(config.journal_url, make_clock(config))
    try:
        yield journal
    finally:
        journal.close()


def make_artifact_cache(config: Settings) -> ArtifactCache:
    """The verified copies of model artifacts."""
    return ArtifactCache(config.home / "artifacts", config.mlflow)


def make_registry(config: Settings, deadline_s: float = 20.0) -> MlflowRegistry:
    """The model registry."""
    return MlflowRegistry(config.mlflow, make_artifact_cache(config).fetch, deadline_s)


def read_registry_views(config: Settings, models: Collection[str]) -> Mapping[str, RegistryView]:
    """What the registry says of many models, in a few calls; empty where it does not answer: each is then asked for."""
    with suppress(SurefootError):
        return make_registry(config).views(models)
    return {}


@contextmanager
def open_gateway_traffic(config: Settings) -> Iterator[GatewayTraffic]:
    """The client of the gateway, which splits live traffic; it is closed at the end."""
    engine = GatewayTraffic(config.gateway, config.token, make_client_context(config.tls))
    try:
        yield engine
    finally:
        engine.close()


def make_version_processes(config: Settings, build_wait_s: float = ENVIRONMENT_BUILD_WAIT_S) -> VersionProcesses:
    """A starter of processes that load versions outside of the gateway, one process each, for replays and checks.

    Args:
        config: Where everything is.
        build_wait_s: How long to wait for the environment of a version that is being built [seconds].
    """
    environments = make_environments(config, build_wait_s)
    return VersionProcesses(make_artifact_cache(config), compute_model_memory_mb(2), environments)


def make_environments(config: Settings, wait_s: float) -> Callable[[str], VersionEnvironments | None]:
    """Give the environments of a model's versions, or None where its policy lets them share that of this host."""
    made = VersionEnvironments(config.home / "environments", wait_s)
    own = SettingByModel(config.configs, lambda policy: policy.serving.environment == "version")
    return lambda model: made if own.get(model) else None


def make_replay(
    config: Settings, models: VersionProcesses, report: ProgressReport = lambda _done, _total: None
) -> IncrementalReplay:
    """The replay, which asks both versions logged requests and stores the counts.

    Args:
        config: Where everything is.
        models: Both versions.
        report: Is told how far they have come; it must not raise.
    """
    return IncrementalReplay(PredictionLog(config.log), models.start_scorer, _evidence_folder(config), report)


def compute_model_memory_mb(workers: int) -> int:
    """Address space of a model's process [MB]; what leaks in every worker leaves half of the host to others."""
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    return max(_MIN_MODEL_MEMORY_MB, host // 2 // workers)


def open_evidence_store(config: Settings, model: str, replaced: Mapping[str, str] | None = None) -> EvidenceStore:
    """The store of evidence that was counted in a model's prediction log.

    Args:
        config: Where everything is.
        model: Registered model.
        replaced: New name of each file that an erasure has written again, by old name, as the journal says.
    """
    return EvidenceStore(_evidence_folder(config), model, replaced)


def _evidence_folder(config: Settings) -> Path:
    """Folder of all evidence that was counted in the prediction logs."""
    return config.home / "evidence"
