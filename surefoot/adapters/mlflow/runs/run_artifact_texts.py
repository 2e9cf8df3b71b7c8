"""Edit the text artifacts in Surefoot's MLflow runs with a given function."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from surefoot.adapters.mlflow.client import RetryingClient

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_TEXT_SUFFIXES = frozenset({".html", ".json", ".md", ".txt", ".csv"})
_PAGE = 1000
_ChangeText = Callable[[str], tuple[str, int]]
"""Gives a text as it should be, and how many places of it were changed [count]."""


def edit_run_artifacts(client: RetryingClient, experiment_name: str, change: _ChangeText) -> int:
    """Change the text artifacts of all runs of an experiment, deleted runs included; how many places were changed.

    Parameters and tags of runs are drawn from the journal again, so they are not touched.

    Raises:
        RegistryUnavailable: MLflow does not answer.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    experiment = client.call(lambda mlflow: mlflow.get_experiment_by_name(experiment_name))
    if experiment is None:
        return 0
    return sum(_replace_in_run(client, str(run.info.run_id), change) for run in _runs(client, experiment.experiment_id))


def _runs(client: RetryingClient, experiment: str) -> "list[Run]":
    from mlflow.entities import ViewType  # noqa: PLC0415 - costs 2.6 CPU seconds

    return client.read_pages(
        lambda token, mlflow: mlflow.search_runs([experiment], "", ViewType.ALL, max_results=_PAGE, page_token=token)
    )


def _replace_in_run(client: RetryingClient, run: str, change: _ChangeText) -> int:
    total = 0
    with tempfile.TemporaryDirectory() as folder:
        for place in client.call(lambda mlflow: list(_text_artifacts(mlflow, run, ""))):
            file = Path(_download(client, run, place, folder))
            text, count = change(file.read_text(encoding="utf-8"))
            if count:
                file.write_text(text, encoding="utf-8")
                _upload(client, run, file, str(PurePosixPath(place).parent))
            total += count
    return total


def _text_artifacts(client: "MlflowClient", run: str, place: str) -> Iterator[str]:
    for found in client.list_artifacts(run, place or None):
        if found.is_dir:
            yield from _text_artifacts(client, run, found.path)
        elif PurePosixPath(found.path).suffix in _TEXT_SUFFIXES:
            yield str(found.path)


def _download(client: RetryingClient, run: str, place: str, folder: str) -> str:
    return client.call(lambda mlflow: str(mlflow.download_artifacts(run, place, folder)))


def _upload(client: RetryingClient, run: str, file: Path, parent: str) -> None:
    client.call(lambda mlflow: mlflow.log_artifact(run, str(file), None if parent == "." else parent))
