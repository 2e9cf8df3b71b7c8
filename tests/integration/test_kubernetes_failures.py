"""Each way in which a cluster cannot be used by engine `kubernetes` is one error of ours, in one line."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from surefoot.core.errors import GatewayUnavailable, OutcomeUnknown, Rejected, SurefootError
from surefoot.core.ports import Traffic
from surefoot.core.serving_engines.engine_abilities import KubernetesKind
from tests.conftest import free_port
from tests.integration.altering_proxy import write_certificate
from tests.integration.kubernetes_api_server import READER, STRANGER, UNKNOWN, WRITER, api_server
from tests.integration.kubernetes_harness import KubernetesHarness, kubernetes_engine


@pytest.fixture
def route(tmp_path: Path) -> Iterator[KubernetesHarness]:
    """An HTTPRoute that names three versions."""
    with kubernetes_engine(KubernetesKind.HTTPROUTE, tmp_path / "route") as made:
        yield made


@dataclass(frozen=True)
class Broken:
    """One way in which a cluster cannot be used.

    Attributes:
        says: What the line says.
        make: Gives the engine, broken so.
        kind: Class of the error of a change.
    """

    says: str
    make: Callable[[KubernetesHarness], Traffic]
    kind: type[SurefootError] = GatewayUnavailable


def _failing(status: int) -> Callable[[KubernetesHarness], Traffic]:
    def make(engine: KubernetesHarness) -> Traffic:
        engine.cluster.failures.append(status)
        return engine.traffic

    return make


def _gone(engine: KubernetesHarness) -> Traffic:
    engine.cluster.objects.clear()
    return engine.traffic


def _garbage(body: bytes) -> Callable[[KubernetesHarness], Traffic]:
    def make(engine: KubernetesHarness) -> Traffic:
        engine.cluster.garbage = body
        return engine.traffic

    return make


def _kubeconfig(engine: KubernetesHarness, text: str) -> Traffic:
    traffic = engine.at(engine.url)
    newest = max(engine.root.iterdir(), key=lambda file: int(file.name.rpartition("-")[2]))
    newest.write_text(text)
    return traffic


BROKEN = {
    "token unknown": Broken("does not know us (401)", lambda engine: engine.at(engine.url, token=UNKNOWN)),
    "no right to read": Broken(
        "does not let us get HTTPRoute models/flights (403): grant verbs get and update on"
        " httproutes.gateway.networking.k8s.io",
        lambda engine: engine.at(engine.url, token=STRANGER),
    ),
    "no right to change": Broken(
        "does not let us update HTTPRoute models/flights (403)", lambda engine: engine.at(engine.url, token=READER)
    ),
    "no such object": Broken("has no HTTPRoute models/flights (404): create it", _gone),
    "no such context": Broken("set KUBECONFIG", lambda engine: engine.at(engine.url, context="staging")),
    "nothing listens": Broken("does not answer", lambda engine: engine.at(f"http://127.0.0.1:{free_port()}")),
    "a list in place of an object": Broken("with something that is no object", _garbage(b"[1]")),
    "an object of something else": Broken("with something that is no object", _garbage(b'{"login": "here"}')),
    "something else": Broken("with something that is no object: Unsupported content type", _garbage(b"GIF89a")),
    "bytes that are no text": Broken("with something that is no object", _garbage(b"\x89PNG")),
    "a kubeconfig that is no YAML": Broken(
        "it is no kubeconfig: ", lambda engine: _kubeconfig(engine, f"users: [token: {WRITER}\n\t-")
    ),
    "a kubeconfig that is something else": Broken(
        "no credentials: kubeconfig", lambda engine: _kubeconfig(engine, f"- {WRITER}")
    ),
    "a server too busy": Broken("cannot answer for HTTPRoute models/flights now (429)", _failing(429)),
    "a server that fails": Broken("failed while it replaced HTTPRoute", _failing(500), OutcomeUnknown),
    "a webhook that refuses": Broken(
        "does not take the changed HTTPRoute models/flights (400)", _failing(400), Rejected
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_failure_of_a_cluster_is_one_line(route: KubernetesHarness, name: str) -> None:
    """A change that the cluster does not take is one error of ours, in one line, and callers are served as before."""
    route.shift(0.0, None)
    before = dict(route.cluster.programmed)
    broken = BROKEN[name]
    with pytest.raises(broken.kind) as refused:
        broken.make(route).shift(route.model, route.split(25.0, generation=2))
    assert type(refused.value) is broken.kind
    assert broken.says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not any(secret in str(refused.value) for secret in (WRITER, READER, STRANGER, UNKNOWN))
    assert route.cluster.programmed == before


def test_a_certificate_that_is_not_trusted_is_refused(route: KubernetesHarness, tmp_path: Path) -> None:
    """Nothing is asked of a server with an unknown certificate; one whose authority the kubeconfig names is used."""
    certificate = write_certificate(tmp_path / "certificate.pem")
    with api_server(route.cluster, certificate) as port:
        with pytest.raises(GatewayUnavailable, match="no trusted connection to the API server") as refused:
            route.at(f"https://127.0.0.1:{port}").live(route.model)
        assert "\n" not in str(refused.value)
        assert route.at(f"https://127.0.0.1:{port}", authority=certificate).live(route.model) is None


def test_without_client_or_kubeconfig_it_says_what_to_do(
    route: KubernetesHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that is not installed, and a kubeconfig that is not there, are one line each."""
    from surefoot.adapters.traffic.kubernetes.kubernetes_traffic import (  # noqa: PLC0415 - of this test alone
        KubernetesTarget,
        KubernetesTraffic,
    )

    settings = {"kind": "httproute", "namespace": "models", "name": "flights", "backend": "v{version}", "patience_s": 1}
    bare = KubernetesTraffic(KubernetesTarget.from_settings(settings))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    with pytest.raises(GatewayUnavailable, match="has no credentials: pod's account cannot be used"):
        bare.live(route.model)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    with pytest.raises(GatewayUnavailable, match=r"has no credentials: kubeconfig .*nowhere cannot be used"):
        bare.live(route.model)
    monkeypatch.setitem(sys.modules, "kubernetes.client", None)
    with pytest.raises(GatewayUnavailable, match=r"pip install 'surefoot\[kubernetes\]'"):
        bare.live(route.model)
