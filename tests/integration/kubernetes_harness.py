"""Hold engine `kubernetes` in front of a test cluster, for each of its two kinds of objects."""

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path

import httpx

from surefoot.adapters.traffic.kubernetes.api_connection import ObjectAddress
from surefoot.adapters.traffic.kubernetes.kubernetes_traffic import KubernetesTarget, KubernetesTraffic
from surefoot.core.domain import Version
from surefoot.core.ports import Traffic
from surefoot.core.serving_engines.engine_abilities import KUBERNETES_KINDS, EngineAbilities, EngineName, KubernetesKind
from tests.integration.engine_harness import CANDIDATE, CHAMPION, FAILING, EngineHarness
from tests.integration.haproxy_process import version_servers
from tests.integration.kubernetes_api_server import (
    NAME,
    NAMESPACE,
    ROUTES,
    SERVICES,
    WRITER,
    Cluster,
    api_server,
    http_route,
    inference_service,
    write_kubeconfig,
)

BACKENDS = {KubernetesKind.HTTPROUTE: "flights-v{version}", KubernetesKind.INFERENCESERVICE: "v{version}"}
PATHS = {KubernetesKind.HTTPROUTE: ROUTES, KubernetesKind.INFERENCESERVICE: SERVICES}


class KubernetesHarness(EngineHarness):
    """A test cluster with one object, its controller, and a proxy in front of small servers."""

    def __init__(self, kind: KubernetesKind, cluster: Cluster, port: int, root: Path) -> None:
        self.kind, self.cluster, self.port, self.root = kind, cluster, port, root
        known = {number: Version(number, f"sha256:{number * 64}") for number in (CHAMPION, CANDIDATE, FAILING)}
        traffic = self.at(f"http://127.0.0.1:{port}")
        super().__init__(EngineName.KUBERNETES, traffic, NAME, known, writes=(b"PUT ",))

    @property
    def abilities(self) -> EngineAbilities:
        """What this kind of object can do."""
        return KUBERNETES_KINDS[self.kind]

    @property
    def path(self) -> str:
        """Where the object is."""
        return PATHS[self.kind]

    @property
    def url(self) -> str:
        """Address of the API server."""
        return f"http://127.0.0.1:{self.port}"

    def at(
        self,
        server: str,
        *,
        patience_s: float = 20.0,
        context: str = "",
        token: str = WRITER,
        authority: Path | None = None,
    ) -> KubernetesTraffic:
        """The engine with the kubeconfig of an API server."""
        file = self.root / f"kubeconfig-{len(list(self.root.iterdir()))}"
        write_kubeconfig(file, server, token, authority)
        address = ObjectAddress(NAMESPACE, NAME, context, str(file))
        return KubernetesTraffic(KubernetesTarget(self.kind, address, BACKENDS[self.kind], patience_s))

    def ask(self, unit: str) -> str:
        """Send a request through the proxy."""
        assert unit
        status, version = self.cluster.ask()
        return version if status == httpx.codes.OK else ""

    def behind(self, port: int) -> Traffic:
        """The API server at another port."""
        return self.at(f"http://127.0.0.1:{port}")

    def target(self) -> tuple[str, int]:
        """Where the API server listens."""
        return "127.0.0.1", self.port

    def move_by_hand(self) -> None:
        """Give all traffic to the candidate, as a person does with kubectl edit."""
        found = copy.deepcopy(self.cluster.read(self.path))
        if self.kind is KubernetesKind.HTTPROUTE:
            for one in found["spec"]["rules"][0]["backendRefs"]:
                one["weight"] = int(one["name"].endswith(f"v{CANDIDATE}"))
        else:
            for one in found["spec"]["canary"]:
                one["trafficPercent"] = 100 * (one["predictor"]["name"] == f"v{CANDIDATE}")
        self.cluster.replace(self.path, found)


@contextlib.contextmanager
def kubernetes_engine(kind: KubernetesKind, root: Path) -> Iterator[KubernetesHarness]:
    """An engine whose object names three versions, of which Surefoot has put none in force."""
    root.mkdir(exist_ok=True)
    with version_servers((CHAMPION, CANDIDATE, FAILING)) as servers:
        cluster = Cluster(servers)
        if kind is KubernetesKind.HTTPROUTE:
            names = [BACKENDS[kind].replace("{version}", number) for number in servers]
            cluster.put(ROUTES, http_route(dict(zip(names, (100, 0, 0), strict=True))))
        else:
            cluster.put(SERVICES, inference_service(*(f"v{number}" for number in servers)))
        with api_server(cluster) as port:
            yield KubernetesHarness(kind, cluster, port, root)
