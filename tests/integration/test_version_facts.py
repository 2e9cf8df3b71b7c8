"""What MLflow knows of who made a version and how, read from a real MLflow server."""

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from surefoot.adapters.mlflow.version_facts import VersionFactReader
from surefoot.core.approvals.version_claims import list_fact_changes
from surefoot.core.errors import NotFound, RegistryUnavailable
from tests.conftest import free_port

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.fixture(scope="module")
def client(mlflow_server: str) -> "MlflowClient":
    """A client of the server."""
    from mlflow import MlflowClient  # noqa: PLC0415 - costs seconds

    return MlflowClient(tracking_uri=mlflow_server, registry_uri=mlflow_server)


def register(client: "MlflowClient", model: str, user: str, depth: int, **tags: str) -> str:
    """A version of a run with a user, a parameter, a metric and a commit."""
    experiment: Any = client.get_experiment_by_name("facts")
    number = experiment.experiment_id if experiment else client.create_experiment("facts")
    run = client.create_run(number, tags={"mlflow.user": user, "mlflow.source.git.commit": f"commit of {user}"})
    client.log_param(run.info.run_id, "depth", depth)
    client.log_metric(run.info.run_id, "auc", 0.5 + depth / 100)
    made = client.create_model_version(model, f"{run.info.artifact_uri}/model", run.info.run_id, tags=tags)
    return str(made.version)


def test_authors_ticket_and_changes(mlflow_server: str, client: "MlflowClient") -> None:
    """The author is the user of the version's run, the ticket a tag of the version; what differs is listed."""
    model = f"facts-{uuid4().hex[:8]}"
    client.create_registered_model(model)
    old = register(client, model, "ann", 4)
    new = register(client, model, "ben", 6, **{"surefoot.ticket": "CHG-7", "surefoot.data_digest": "sha256:1"})
    reader = VersionFactReader(mlflow_server)
    claims = reader.claims(model, new)
    assert "ben" in claims.authors
    assert "ann" not in claims.authors
    assert claims.ticket == "CHG-7"
    changes = list_fact_changes(reader.facts(model, old), reader.facts(model, new))
    assert {(one.kind, one.name, one.before, one.after) for one in changes} == {
        ("data", "training data", "", "sha256:1"),
        ("parameters", "depth", "4", "6"),
        ("metrics", "auc", "0.54", "0.56"),
        ("code", "commit", "commit of ann", "commit of ben"),
    }


def test_what_is_not_there_is_said(mlflow_server: str) -> None:
    """A version that is not there, and a server that does not answer, are errors of ours."""
    with pytest.raises(NotFound):
        VersionFactReader(mlflow_server).claims("no-such-model", "1")
    with pytest.raises(RegistryUnavailable):
        VersionFactReader(f"http://127.0.0.1:{free_port()}", 0.5).claims("m", "1")
