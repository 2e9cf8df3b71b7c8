"""The registry adapter against a real MLflow server."""

import hashlib
import socket
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from surefoot.adapters.mlflow.deleted_versions import is_version_deleted
from surefoot.adapters.mlflow.registry import (
    DATA_DIGEST_TAG,
    PENDING_VERSION_TIMEOUT_S,
    MlflowRegistry,
    _demand_ready,
)
from surefoot.core.domain import RegistryView
from surefoot.core.errors import (
    AliasDrift,
    ArtifactTampered,
    NotFound,
    RegistryUnavailable,
    Rejected,
    SurefootError,
)
from tests.conftest import free_port

if TYPE_CHECKING:
    from mlflow import MlflowClient


def _fetch(uri: str) -> Callable[[str, str], tuple[Path, str]]:
    """Download a version and hash its files, names included."""

    def fetch(model: str, number: str) -> tuple[Path, str]:
        import mlflow.artifacts  # noqa: PLC0415 - costs seconds

        # MLflow resolves "models:/" against the global registry, whichever it is told; so not that.
        source = mlflow.MlflowClient(uri, uri).get_model_version_download_uri(model, number)
        root = Path(mlflow.artifacts.download_artifacts(source, dst_path=tempfile.mkdtemp(), tracking_uri=uri))
        hasher = hashlib.sha256()
        for path in sorted(one for one in root.rglob("*") if one.is_file()):
            hasher.update(f"{path.relative_to(root)}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
        return root, f"sha256:{hasher.hexdigest()}"

    return fetch


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


@pytest.fixture
def registry(mlflow_server: str) -> MlflowRegistry:
    """The adapter, as the house wires it."""
    return MlflowRegistry(mlflow_server, _fetch(mlflow_server))


@pytest.fixture
def client(mlflow_server: str) -> "MlflowClient":
    """MLflow's own client: somebody else."""
    from mlflow import MlflowClient  # noqa: PLC0415 - costs seconds

    return MlflowClient(tracking_uri=mlflow_server, registry_uri=mlflow_server)


def _register(client: "MlflowClient", count: int = 3, model: str = "") -> str:
    """Register so many versions of a model; each has other bytes."""
    model = model or f"m-{uuid4().hex}"
    client.create_registered_model(model)
    for number in range(1, count + 1):
        run = client.create_run("0")
        client.log_text(run.info.run_id, f"{model} {number}", "model/weights.txt")
        client.create_model_version(model, f"{run.info.artifact_uri}/model", run_id=run.info.run_id)
    return model


def test_an_alias_is_set_moved_and_removed(registry: MlflowRegistry, client: "MlflowClient") -> None:
    """An alias points where it was last set, is None when it is not set, and removing it twice is no error."""
    model = _register(client)
    assert registry.alias(model, "champion") is None
    for number in ("1", "2", "2", None, None, "3"):
        registry.set_alias(model, "champion", number)
        assert registry.alias(model, "champion") == number
    registry.set_alias(model, "previous", "2")
    assert registry.aliases(model) == {"champion": "3", "previous": "2"}


def test_a_deleted_version_is_known_by_its_alias_and_by_the_view(
    registry: MlflowRegistry, client: "MlflowClient"
) -> None:
    """A rollback learns from the alias that its target is deleted, and from the view which versions are left."""
    model = _register(client, count=3)
    client.delete_model_version(model, "2")
    with pytest.raises(NotFound):
        registry.set_alias(model, "champion", "2")
    assert set(registry.view(model).stages) == {"1", "3"}


def test_a_deleted_version_is_known_without_mlflows_client(mlflow_server: str, client: "MlflowClient") -> None:
    """Only MLflow's own word counts: another version, a server that is down or hangs, and a file say nothing."""
    model = _register(client, count=2)
    client.delete_model_version(model, "2")
    assert is_version_deleted(mlflow_server, model, "2")
    assert not is_version_deleted(mlflow_server, model, "1")
    assert not is_version_deleted(f"http://127.0.0.1:{free_port()}", model, "2")
    assert not is_version_deleted("sqlite:///mlflow.db", model, "2")
    assert not is_version_deleted("http://[", model, "2")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts and never answers
        assert not is_version_deleted(f"http://127.0.0.1:{silent.getsockname()[1]}", model, "2")


def test_what_does_not_exist_is_named(registry: MlflowRegistry, client: "MlflowClient") -> None:
    """A missing version or model is NotFound and says which there are."""
    model = _register(client, count=2)
    with pytest.raises(NotFound, match=f"model {model} has no version 9; it has 1, 2$"):
        registry.resolve(model, "9")
    with pytest.raises(NotFound, match=f"model {model} has no version one; it has 1, 2$"):
        registry.resolve(model, "one")
    # The server is one for many tests: the names that are nearest come first, and what is not listed is counted.
    with pytest.raises(NotFound, match=rf"no registered model {model}x; registered: {model}, "):
        registry.resolve(f"{model}x", "1")
    more = max(len(registry.models()) - 20, 0)
    with pytest.raises(NotFound, match="no registered model nobody; registered: ") as told:
        registry.resolve("nobody", "1")
    assert str(told.value).endswith(f", and {more} more") == (more > 0)
    for call in (
        lambda: registry.alias("nobody", "champion"),
        lambda: registry.aliases("nobody"),
        lambda: registry.set_alias("nobody", "champion", "1"),
        lambda: registry.set_alias(model, "champion", "9"),
    ):
        with pytest.raises(NotFound, match="not found"):
            call()


def test_what_mlflow_does_not_allow_is_rejected(registry: MlflowRegistry, client: "MlflowClient") -> None:
    """A reserved or malformed alias is Rejected with MLflow's reason, and is never taken for an unset one."""
    model = _register(client, count=1)
    with pytest.raises(Rejected, match="reserved"):
        registry.set_alias(model, "v1", "1")
    with pytest.raises(Rejected, match="Invalid alias name"):
        registry.alias(model, "a/b")


def test_an_address_that_is_no_registry_is_rejected(mlflow_server: str) -> None:
    """A wrong path on a living server is told at once and not retried."""
    wrong = MlflowRegistry(f"{mlflow_server}/nope", _fetch(mlflow_server))
    with pytest.raises(Rejected, match="404"):
        wrong.models()


def test_a_digest_is_that_of_the_bytes(registry: MlflowRegistry, client: "MlflowClient", mlflow_server: str) -> None:
    """Two downloads digest alike, two versions do not, and bytes overwritten behind the registry's back show."""
    model = _register(client, count=2)
    again = MlflowRegistry(mlflow_server, _fetch(mlflow_server))
    first, second = registry.resolve(model, "1"), registry.resolve(model, "2")
    assert again.resolve(model, "1") == first
    assert (first.number, second.number) == ("1", "2")
    assert first.digest != second.digest
    assert first.digest.startswith("sha256:")
    assert first.data_digest == ""

    path = str(client.get_model_version(model, "1").source).removeprefix("mlflow-artifacts:/")
    overwrite = urllib.request.Request(  # noqa: S310 - our own server
        f"{mlflow_server}/api/2.0/mlflow-artifacts/artifacts/{path}/weights.txt", data=b"other bytes", method="PUT"
    )
    with urllib.request.urlopen(overwrite, timeout=10) as answer:  # noqa: S310 - our own server
        assert answer.status == 200
    assert MlflowRegistry(mlflow_server, _fetch(mlflow_server)).resolve(model, "1").digest != first.digest
    assert registry.resolve(model, "1") == first


def test_a_recreated_model_is_digested_again(registry: MlflowRegistry, client: "MlflowClient") -> None:
    """A model that was deleted and made anew starts at version 1 again; its digest is not the remembered one."""
    model = _register(client, count=1)
    before = registry.resolve(model, "1")
    client.delete_registered_model(model)
    client.create_registered_model(model)
    run = client.create_run("0")
    client.log_text(run.info.run_id, "another", "model/weights.txt")
    client.create_model_version(model, f"{run.info.artifact_uri}/model", run_id=run.info.run_id)
    assert registry.resolve(model, "1").digest != before.digest


def test_a_broken_download_is_repeated(client: "MlflowClient", mlflow_server: str) -> None:
    """A fetch that finds the registry unavailable once is tried again; a tampered artifact is not."""
    model = _register(client, count=1)
    failures: list[SurefootError] = [RegistryUnavailable("cut off"), ArtifactTampered("other bytes")]

    def fetch(model: str, number: str) -> tuple[Path, str]:
        if failures:
            raise failures.pop(0)
        return _fetch(mlflow_server)(model, number)

    registry = MlflowRegistry(mlflow_server, fetch)
    with pytest.raises(ArtifactTampered):
        registry.resolve(model, "1")
    assert registry.resolve(model, "1").number == "1"


def test_the_tagged_data_digest_is_read(registry: MlflowRegistry, client: "MlflowClient") -> None:
    """A version carries the digest of its training data as its owner has tagged it last."""
    model = _register(client, count=1)
    for value in ("sha256:aa", "sha256:bb", "sha256:bb"):
        client.set_model_version_tag(model, "1", DATA_DIGEST_TAG, value)
        assert registry.resolve(model, "1").data_digest == value


def test_a_view_shows_aliases_stages_and_statuses(registry: MlflowRegistry, client: "MlflowClient") -> None:
    """Every version is seen with its stage and status; a quote in the name does no harm, and no model is no error."""
    model = _register(client, count=11, model=f"it's-{uuid4().hex}")
    for number in ("2", "11", "9"):
        with pytest.warns(FutureWarning, match="stages will be removed"):
            client.transition_model_version_stage(model, number, "Staging")
    with pytest.warns(FutureWarning, match="stages will be removed"):
        client.transition_model_version_stage(model, "3", "Production")
    client.set_registered_model_alias(model, "candidate", "9")
    view = registry.view(model)
    assert view.aliases == {"candidate": "9"}
    assert {number for number, stage in view.stages.items() if stage == "Staging"} == {"2", "9", "11"}
    assert set(view.statuses.values()) == {"READY"}
    assert len(view.stages) == 11
    assert registry.view("nobody") == RegistryView(exists=False)


def test_a_version_that_is_not_ready_is_not_taken(registry: MlflowRegistry, client: "MlflowClient") -> None:
    """A version whose upload is under way is asked for again later; one that failed, or takes for ever, is refused."""
    model = _register(client)
    known = client.get_model_version(model, "1")
    cases = [
        ("PENDING_REGISTRATION", 0.0, RegistryUnavailable, "is PENDING_REGISTRATION"),
        ("FAILED_REGISTRATION", 0.0, Rejected, "is FAILED_REGISTRATION"),
        ("PENDING_REGISTRATION", 2 * PENDING_VERSION_TIMEOUT_S, Rejected, "after 2 hours"),
    ]
    for status, age, error, says in cases:
        told = {**dict(known), "status": status, "creation_timestamp": int((time.time() - age) * 1000)}
        with pytest.raises(error, match=says):
            _demand_ready(SimpleNamespace(**told), model)  # type: ignore[arg-type]
    _demand_ready(known, model)


@pytest.mark.parametrize(
    ("typed", "says"), [("@candidate", "alias candidate points to version 1"), ("latest", "newest")]
)
def test_what_is_typed_instead_of_a_number_is_named(
    registry: MlflowRegistry, client: "MlflowClient", typed: str, says: str
) -> None:
    """An alias or `latest` in the place of a version number is refused with the number that it stands for."""
    model = _register(client)
    client.set_registered_model_alias(model, "candidate", "1")
    with pytest.raises(NotFound, match=says):
        registry.resolve(model, typed)


def test_models_are_listed_whole(registry: MlflowRegistry, client: "MlflowClient") -> None:
    """Every registered model is listed, sorted, also beyond the first page of a hundred."""
    made = [f"page-{uuid4().hex}" for _ in range(101)]
    for name in made:
        client.create_registered_model(name)
    listed = registry.models()
    assert set(made) <= set(listed)
    assert list(listed) == sorted(listed)


def test_views_of_many_models_are_those_of_each(
    mlflow_server: str, client: "MlflowClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read together in a bounded number of calls, views are what is read model by model: aliases, tags, odd names."""
    made = [_register(client, count=2) for _ in range(9)]
    odd = f"it's {made[0]}"
    client.create_registered_model(odd)
    client.create_model_version(odd, "s3://nowhere/model")
    client.set_registered_model_alias(made[1], "champion", "2")
    client.set_model_version_tag(made[2], "1", "surefoot.data_digest", "sha256:abc")
    client.delete_model_version(made[3], "1")
    registry, asked = MlflowRegistry(mlflow_server, _fetch(mlflow_server)), [*made, odd, "absent"]
    alone = {model: registry.view(model) for model in asked}
    calls: list[object] = []
    call = registry._mlflow.call

    def counted(*asked: Any, **more: Any) -> object:
        calls.append(asked)
        return call(*asked, **more)

    monkeypatch.setattr(registry._mlflow, "call", counted)
    together = registry.views(asked)
    assert together == alone
    assert len(calls) <= 4  # two lists, and two calls for the name that no filter can hold
    assert together[made[2]].data_digests == {"1": "sha256:abc"}
    assert not together["absent"].exists


@pytest.mark.parametrize("wishes", [("1", "1"), ("1", "2")])
def test_racing_to_set_an_alias_ends_with_one_value(
    mlflow_server: str, client: "MlflowClient", wishes: tuple[str, str]
) -> None:
    """Two clients set an alias first: agreeing, both succeed; disagreeing, one stays and the loser hears of it."""
    model = _register(client, count=2)
    start = threading.Barrier(2)

    def race(round_: int, wish: str) -> str:
        mine = MlflowRegistry(mlflow_server, _fetch(mlflow_server))
        start.wait()
        try:
            mine.set_alias(model, f"a{round_}", wish)
        except AliasDrift:
            return "drift"
        return "set"

    for round_ in range(8):
        with ThreadPoolExecutor(2) as pool:
            heard = list(pool.map(race, [round_, round_], wishes))
        assert client.get_model_version_by_alias(model, f"a{round_}").version in wishes
        assert "set" in heard
        if wishes[0] == wishes[1]:
            assert heard == ["set", "set"]
