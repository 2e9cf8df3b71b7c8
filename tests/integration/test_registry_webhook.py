"""A real MLflow tells of moved aliases, and the rollout that it asks for is opened without a tick."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from surefoot.adapters.access.delivery_store import DELIVERIES_FILE
from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.adapters.mlflow.server.registry_webhook import WEBHOOK_NAME, register_webhook
from surefoot.cli.access.webhook import webhook
from surefoot.controller.candidate_opener import open_candidate_rollouts
from surefoot.core.access.webhook_messages import WEBHOOK_PATH, derive_webhook_secret, sign_webhook
from surefoot.core.errors import RegistryUnavailable, Rejected
from surefoot.settings import Settings
from surefoot.status_page.page_server import serve_status_page
from surefoot.status_page.programs.wake_signal import WakeSignal
from tests import local_http
from tests.conftest import free_port

if TYPE_CHECKING:
    from mlflow import MlflowClient

PATIENCE_S = 60.0


@dataclass
class Registry:
    """A real MLflow, and the receiver of its webhooks."""

    config: Settings
    client: "MlflowClient"
    signal: WakeSignal

    def woken(self) -> frozenset[str]:
        """Models for which the controller was woken, once there are any."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := self.signal.take()):
            assert time.monotonic() < deadline, "no webhook came"
            self.signal.wait(1.0)
        return found

    def model(self) -> str:
        """A registered model with a version."""
        name = f"told-{uuid4().hex[:8]}"
        self.client.create_registered_model(name)
        self.client.create_model_version(name, "s3://nowhere/at/all")
        return name


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, mlflow_server: str) -> Iterator[Registry]:
    """The shared MLflow server with the webhook of a receiver that is there for this module."""
    from mlflow import MlflowClient  # noqa: PLC0415 - costs seconds

    home = tmp_path_factory.mktemp("webhook") / "home"
    dead, page = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    config = Settings(home, home, mlflow_server, dead, dead, "installation", page=page)
    config.save()
    (home / "configs").mkdir()
    signal = WakeSignal()
    with serve_status_page(config, signal):
        register_webhook(config.mlflow, page + WEBHOOK_PATH, derive_webhook_secret(config.token))
        client = MlflowClient(tracking_uri=mlflow_server, registry_uri=mlflow_server)
        yield Registry(config, client, signal)
        for one in client.list_webhooks():
            client.delete_webhook(one.webhook_id)


def test_a_moved_alias_wakes_the_controller(registry: Registry) -> None:
    """Setting and deleting an alias each wake it for that model, and MLflow's own test message wakes it for none."""
    model = registry.model()
    registry.signal.take()
    registry.client.set_registered_model_alias(model, "candidate", "1")
    assert registry.woken() == {model}
    registry.client.delete_registered_model_alias(model, "candidate")
    assert registry.woken() == {model}
    (ours,) = (one for one in registry.client.list_webhooks() if one.name == WEBHOOK_NAME)
    told = registry.client.test_webhook(ours.webhook_id)
    assert (told.success, told.response_status) == (True, 202)
    assert registry.signal.take() == frozenset()


def test_the_webhook_is_registered_once(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """However often it is registered there is one, with the latest address and secret; the command does it too."""
    monkeypatch.setenv("SUREFOOT_HOME", str(registry.config.home))
    receiver = registry.config.page + WEBHOOK_PATH
    webhook(create=True)
    webhook(create=True, url=receiver)
    ours = [one for one in registry.client.list_webhooks() if one.name == WEBHOOK_NAME]
    assert [one.url for one in ours] == [receiver]
    assert derive_webhook_secret(registry.config.token) not in capfd.readouterr().out
    webhook()
    assert derive_webhook_secret(registry.config.token) in capfd.readouterr().out
    model = registry.model()
    registry.signal.take()
    registry.client.set_registered_model_alias(model, "candidate", "1")
    assert registry.woken() == {model}


def test_what_mlflow_does_not_take_is_one_line(registry: Registry) -> None:
    """An address that MLflow refuses, and an MLflow that does not answer, are errors of ours."""
    with pytest.raises(Rejected, match="docs/settings"):
        register_webhook(registry.config.mlflow, "ftp://127.0.0.1/x", "secret")
    with pytest.raises(RegistryUnavailable):
        register_webhook(registry.config.prefect, "http://127.0.0.1/x", "secret")
    register_webhook(
        registry.config.mlflow, registry.config.page + WEBHOOK_PATH, derive_webhook_secret(registry.config.token)
    )


def test_what_the_registry_asks_for_is_answered_without_a_flow(registry: Registry) -> None:
    """The opener journals, as `reconcile` does, what comes of the alias; a model without a policy is left alone."""
    model = registry.model()
    assert open_candidate_rollouts(registry.config, [model]) == []
    (registry.config.configs / "told.yaml").write_text(POLICY.replace("MODEL", model))
    registry.client.set_registered_model_alias(model, "candidate", "1")
    assert registry.woken() == {model}
    (said,) = open_candidate_rollouts(registry.config, [model])
    assert said.startswith(f"{model}: version 1 ")
    journal = SqlJournal(registry.config.journal_url, SystemClock())
    entries = journal.read(model)
    journal.close()
    assert {entry.actor for entry in entries} <= {"webhook"}


POLICY = """\
model: MODEL
traffic: { requests_per_minute: 5 }
data: { suite: told, window: 30d }
gates:
  errors: { metric: error_rate, margin: 10pp }
steps:
  - weight: 25
    hold: { for: 6h, gates: [errors] }
bake: { for: 7d, gates: [errors] }
"""


def test_a_wake_ends_a_wait_and_is_taken_once() -> None:
    """A thread that waits is woken at once; models that are kept for later wake no thread."""
    signal = WakeSignal()
    woken: list[frozenset[str]] = []

    def wait() -> None:
        signal.wait(PATIENCE_S)
        woken.append(signal.take())

    waiting = threading.Thread(target=wait)
    waiting.start()
    signal.wake({"a", "b"})
    waiting.join(PATIENCE_S)
    assert woken == [{"a", "b"}]
    signal.keep({"c"})
    assert not signal._set.is_set()
    signal.wake({"d"})
    assert (signal.take(), signal.take()) == ({"c", "d"}, frozenset())


def test_a_store_that_cannot_be_written_is_told_and_tried_again(registry: Registry) -> None:
    """Without a durable record of its delivery a webhook is not taken: MLflow is asked to send it again."""
    config = replace(registry.config, page=f"http://127.0.0.1:{free_port()}", home=registry.config.home / "second")
    config.save()
    (config.home / DELIVERIES_FILE).mkdir()
    signal, body = WakeSignal(), b'{"entity": "model_version_alias", "action": "created", "data": {"name": "m"}}'
    at = str(int(time.time()))
    signed = sign_webhook(derive_webhook_secret(config.token), "delivery-1", at, body)
    headers = {"x-mlflow-delivery-id": "delivery-1", "x-mlflow-timestamp": at, "x-mlflow-signature": signed}
    with serve_status_page(config, signal):
        assert local_http.post(config.page + WEBHOOK_PATH, content=body, headers=headers).status_code == 503
        assert signal.take() == frozenset()
        (config.home / DELIVERIES_FILE).rmdir()
        assert local_http.post(config.page + WEBHOOK_PATH, content=body, headers=headers).status_code == 202
    assert signal.take() == {"m"}
