"""Compare what MLflow knows about a rollout's candidate and champion."""

import contextlib
from functools import partial
from pathlib import Path

from surefoot.adapters.mlflow.version_facts import VersionFactReader
from surefoot.core.approvals.version_claims import FactChange, list_fact_changes
from surefoot.core.domain import Version
from surefoot.core.errors import SurefootError
from surefoot.core.journal.events import RolloutOpened
from surefoot.settings import Settings
from surefoot.wiring.adapters import make_artifact_cache


def read_version_changes(config: Settings, model: str, opened: RolloutOpened) -> tuple[FactChange, ...]:
    """Data, features, hyperparameters, metrics and code that differ between candidate and champion.

    Args:
        config: Where everything is.
        model: Registered model.
        opened: The rollout.

    Raises:
        SurefootError: MLflow does not answer, or does not have one of the versions any more.
    """
    reader = VersionFactReader(config.mlflow)

    def folder(version: Version) -> Path | None:
        with contextlib.suppress(SurefootError):
            return make_artifact_cache(config).verified(version, model)
        return None

    champion, candidate = (
        reader.facts(model, version.number, partial(folder, version)) for version in (opened.champion, opened.candidate)
    )
    return list_fact_changes(champion, candidate)
