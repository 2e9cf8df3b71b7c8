"""Read facts about a model version from MLflow, such as its author, training data and code."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from surefoot.adapters.mlflow.client import RetryingClient
from surefoot.core.approvals.version_claims import VersionClaims, VersionFacts
from surefoot.core.errors import NotFound

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

_TICKET_TAG = "surefoot.ticket"
_DATA_TAG = "surefoot.data_digest"
_CODE_TAGS = {
    "mlflow.source.git.commit": "commit",
    "mlflow.source.git.branch": "branch",
    "mlflow.source.name": "source",
}
_MAX_DEADLINE_S = 5.0
"""How long MLflow is asked for what merely informs people [seconds]."""


class VersionFactReader:
    """Reads what MLflow knows of versions of one registry."""

    def __init__(self, uri: str, deadline_s: float = _MAX_DEADLINE_S) -> None:
        """Remember where; nothing is asked before the first call."""
        self._mlflow = RetryingClient(uri, deadline_s)

    def claims(self, model: str, number: str) -> VersionClaims:
        """Who made a version, and its change ticket.

        Raises:
            NotFound: There is no such version.
            RegistryUnavailable: MLflow does not answer.
        """
        version = self._mlflow.call(lambda client: client.get_model_version(model, number))
        run = self._run(version)
        named = [getattr(version, "user_id", None)]
        if run is not None:
            named += [run.info.user_id, run.data.tags.get("mlflow.user")]
        authors = tuple(dict.fromkeys(str(name) for name in named if name and name != "unknown"))
        return VersionClaims(authors, str(version.tags.get(_TICKET_TAG, "")))

    def facts(self, model: str, number: str, find_folder: Callable[[], Path | None] = lambda: None) -> VersionFacts:
        """How a version came to be, as far as MLflow knows.

        Args:
            model: Registered model.
            number: The version.
            find_folder: Gives its artifact on this host, which holds the signature; None where it cannot be had.

        Raises:
            NotFound: There is no such version.
            RegistryUnavailable: MLflow does not answer.
        """
        version = self._mlflow.call(lambda client: client.get_model_version(model, number))
        run = self._run(version)
        data = {"training data": str(version.tags[_DATA_TAG])} if version.tags.get(_DATA_TAG) else {}
        folder = find_folder()
        features = {} if folder is None else _features(folder)
        if run is None:
            return VersionFacts(data=data, features=features)
        for used in run.inputs.dataset_inputs if run.inputs else ():
            data[f"dataset {used.dataset.name}"] = str(used.dataset.digest)
        return VersionFacts(
            data=data,
            features=features,
            parameters={str(name): str(value) for name, value in run.data.params.items()},
            metrics={str(name): f"{value:.6g}" for name, value in run.data.metrics.items()},
            code={label: run.data.tags[tag] for tag, label in _CODE_TAGS.items() if tag in run.data.tags},
        )

    def _run(self, version: "ModelVersion") -> "Run | None":
        """The run that made a version; None where it is not known, or deleted for good."""
        run = version.run_id
        if not run:
            return None
        try:
            return self._mlflow.call(lambda client: client.get_run(run))
        except NotFound:
            return None


def _features(folder: Path) -> dict[str, str]:
    """Names and types of the columns that a version takes; none where it has no signature that names them."""
    from mlflow.models import Model  # noqa: PLC0415 - costs 2.6 CPU seconds

    signature = Model.load(str(folder)).signature
    if signature is None or signature.inputs is None or not signature.inputs.has_input_names():
        return {}
    return {str(one.name): str(getattr(one, "type", "")) for one in signature.inputs.inputs}
