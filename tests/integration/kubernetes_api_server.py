"""Answer as an API server of Kubernetes for two kinds of objects, with a controller and a proxy that they program.

It checks every write against the published schema, compares resource versions, counts generations, keeps the status out
of reach of writers, and knows tokens with and without rights. Its controller says that it has seen an object and then
programs the proxy, which sends each request to the server of a version.
"""

import contextlib
import copy
import functools
import http.client
import http.server
import itertools
import json
import random
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import yaml

CRDS = Path(__file__).parents[1] / "data" / "crds"
NAMESPACE, NAME = "models", "flights"
WRITER, READER, STRANGER, UNKNOWN = "secret-of-a-writer", "secret-of-a-reader", "secret-of-a-stranger", "no-secret"
RIGHTS: Mapping[str, frozenset[str]] = {
    WRITER: frozenset({"GET", "PUT"}),
    READER: frozenset({"GET"}),
    STRANGER: frozenset(),
}
ROUTES = "/apis/gateway.networking.k8s.io/v1/namespaces/models/httproutes/flights"
SERVICES = "/apis/serving.kserve.io/v1beta1/namespaces/models/inferenceservices/flights"
AUTOSCALING = {"maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling"}
Object = dict[str, Any]


@functools.cache
def _validators() -> "dict[str, jsonschema.Draft202012Validator]":
    """What checks each kind of object, by its path."""
    made = {ROUTES: route_schema(), SERVICES: service_schema()}
    return {path: jsonschema.Draft202012Validator(schema) for path, schema in made.items()}


def route_schema() -> Object:
    """The schema of an HTTPRoute; fields that it does not name are refused, as with strict field validation."""
    crd = json.loads((CRDS / "httproute.json").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return {**_closed(schema), "additionalProperties": False}


def service_schema() -> Object:
    """The schema of an InferenceService, as far as it is kept here; other fields are taken."""
    parts = json.loads((CRDS / "inferenceservice-subset.json").read_text())
    predictor = parts["spec"]["predictor"]
    canary = copy.deepcopy(parts["spec"]["canary"])
    canary["items"]["properties"]["predictor"] = predictor
    spec = {"type": "object", "required": ["predictor"], "properties": {"predictor": predictor, "canary": canary}}
    return {"type": "object", "properties": {"metadata": {"type": "object"}, "spec": spec, "status": parts["status"]}}


def _closed(schema: Object) -> Object:
    """A schema of which every object has the fields that are named, and no others."""
    made = dict(schema)
    if "properties" in made:
        made["properties"] = {key: _closed(item) for key, item in made["properties"].items()}
        if made["properties"].keys() - {"apiVersion"}:
            made["additionalProperties"] = False
    if "items" in made:
        made["items"] = _closed(made["items"])
    if made.get("properties", {}).keys() == {"apiVersion", "kind", "metadata", "spec", "status"}:
        made["properties"]["metadata"] = {"type": "object"}
    return made


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Cluster:
    """The objects, their controller and the proxy.

    Attributes:
        objects: Object by path.
        conflicts: How many writes in a row meet another writer from now on.
        failures: Statuses of the next answers to writes.
        missing: Services that the controller cannot find.
        garbage: What is answered in place of any object.
        observes: Whether the controller looks at changes.
        programmed: Weight of each version's server at the proxy.
        writes: How many objects were replaced.
    """

    def __init__(self, servers: Mapping[str, int]) -> None:
        self.objects: dict[str, Object] = {}
        self.conflicts, self.failures, self.observes, self.writes = 0, list[int](), True, 0
        self.missing: set[str] = set()
        self.garbage = b""
        self.programmed: dict[str, int] = {}
        self._servers = servers
        self._schemas = _validators()
        self._versions = itertools.count(1)
        self._random = random.Random(7)  # noqa: S311 - a proxy's choice
        self._lock = threading.RLock()

    def put(self, path: str, given: Object) -> Object:
        """Create an object, as its owner does, and have the controller look at it."""
        with self._lock:
            made = copy.deepcopy(given)
            made["metadata"] |= {"resourceVersion": str(next(self._versions)), "generation": 1}
            self._validate(path, made)
            self.objects[path] = made
            self.observe()
            return made

    def edit(self, path: str, edit: Callable[[Object], object]) -> None:
        """Change an object by another hand than Surefoot's."""
        with self._lock:
            found = self.read(path)
            edit(found)
            self.replace(path, found)

    def read(self, path: str) -> Object:
        """An object."""
        with self._lock:
            if path not in self.objects:
                raise Refused(404, f'"{path.rsplit("/", 1)[-1]}" not found')
            return copy.deepcopy(self.objects[path])

    def replace(self, path: str, given: Object, *, dry_run: bool = False) -> Object:
        """Replace an object, as the API server does."""
        with self._lock:
            before = self.read(path)
            if self.conflicts:
                self.conflicts -= 1
                before["metadata"]["resourceVersion"] = str(next(self._versions))
                self.objects[path] = before
            if self.failures:
                raise Refused(self.failures.pop(0), "asked to fail")
            if given["metadata"].get("resourceVersion") != before["metadata"]["resourceVersion"]:
                raise Refused(409, "the object has been modified; please apply your changes to the latest version")
            made = copy.deepcopy(given)
            made.pop("status", None)
            made |= {"status": before["status"]} if "status" in before else {}
            self._validate(path, made)
            generation = before["metadata"]["generation"] + (made["spec"] != before["spec"])
            made["metadata"] |= {"resourceVersion": str(next(self._versions)), "generation": generation}
            if not dry_run:
                self.objects[path], self.writes = made, self.writes + 1
                self.observe()
            return copy.deepcopy(self.objects[path])

    def observe(self) -> None:
        """Have the controller look at every object, unless it sleeps."""
        with self._lock:
            for path, found in self.objects.items() if self.observes else ():
                if path == ROUTES:
                    _observe_route(found, self.missing)
                else:
                    _observe_service(found)
                self.programmed = _route_weights(found) if path == ROUTES else _service_weights(found)

    def ask(self) -> tuple[int, str]:
        """Send a request through the proxy: the status, and the version that answered."""
        with self._lock:
            names, weights = list(self.programmed), list(self.programmed.values())
            name = self._random.choices(names, weights)[0]
        port = self._servers[name.rpartition("v")[2]]
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers.get("x-model-version", "")

    def _validate(self, path: str, made: Object) -> None:
        for error in self._schemas[path].iter_errors(made):
            raise Refused(422, f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}")
        if path == SERVICES:
            _admit(made)


def _admit(made: Object) -> None:
    """Refuse what KServe's webhook refuses of `spec.canary`."""
    canaries, denied = made["spec"].get("canary", []), 'admission webhook "inferenceservice.validator" denied: '
    names = [one["predictor"].get("name") for one in canaries]
    if None in names or len({*names, made["spec"]["predictor"].get("name")}) < len(names) + 1:
        raise Refused(400, f"{denied}names of canaries are required and unique")
    if sum(one["trafficPercent"] for one in canaries) > 100:
        raise Refused(400, f"{denied}the sum of trafficPercent exceeds 100")
    if any(AUTOSCALING & one["predictor"].keys() for one in canaries):
        raise Refused(400, f"{denied}autoscaling fields are not allowed on a canary")
    mode = made["metadata"].get("annotations", {}).get("serving.kserve.io/deploymentMode", "")
    if canaries and mode not in {"Standard", "RawDeployment"}:
        raise Refused(400, f"{denied}canary needs deployment mode Standard")


def _observe_route(found: Object, lost: set[str]) -> None:
    """Say that the route is taken, and which of its Services are not there."""
    seen = {"observedGeneration": found["metadata"]["generation"], "lastTransitionTime": "2026-01-01T00:00:00Z"}
    missing = [one["name"] for one in _refs(found) if one["name"] in lost]
    resolved = {"status": "False", "reason": "BackendNotFound", "message": f"service {missing} not found"}
    if not missing:
        resolved = {"status": "True", "reason": "ResolvedRefs", "message": ""}
    accepted = {"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""}
    found["status"] = {
        "parents": [
            {
                "parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", **parent},
                "controllerName": "example.com/controller",
                "conditions": [{**accepted, **seen}, {"type": "ResolvedRefs", **resolved, **seen}],
            }
            for parent in found["spec"]["parentRefs"]
        ]
    }


def _observe_service(found: Object) -> None:
    """Say that every predictor runs but the one that a label names."""
    broken = found["metadata"].get("labels", {}).get("broken", "")
    ready = found["spec"]["predictor"]["name"] != broken
    found["status"] = {
        "observedGeneration": found["metadata"]["generation"],
        "deploymentMode": found["metadata"]["annotations"]["serving.kserve.io/deploymentMode"],
        "conditions": [{"type": "PredictorReady", "status": str(ready), "reason": "MinimumReplicasUnavailable"}],
        "canaryStatuses": [
            {
                "name": one["predictor"]["name"],
                "ready": one["predictor"]["name"] != broken,
                "trafficPercent": one["trafficPercent"],
            }
            for one in found["spec"].get("canary", [])
        ],
    }


def _refs(found: Object) -> list[Object]:
    return [one for rule in found["spec"]["rules"] for one in rule.get("backendRefs", [])]


def _route_weights(found: Object) -> dict[str, int]:
    return {one["name"]: one.get("weight", 1) for one in found["spec"]["rules"][0]["backendRefs"]}


def _service_weights(found: Object) -> dict[str, int]:
    canaries = {one["predictor"]["name"]: one["trafficPercent"] for one in found["spec"].get("canary", [])}
    return {found["spec"]["predictor"]["name"]: 100 - sum(canaries.values()), **canaries}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def do_GET(self) -> None:
        """Read an object."""
        self._answer(lambda path, _query: self.cluster.read(path))

    def do_PUT(self) -> None:
        """Replace an object."""
        given = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self._answer(lambda path, query: self.cluster.replace(path, given, dry_run=query.get("dryRun") == ["All"]))

    def _answer(self, ask: Any) -> None:
        asked = urlsplit(self.path)
        try:
            rights = RIGHTS.get(self.headers.get("authorization", "").removeprefix("Bearer "))
            if rights is None:
                raise Refused(401, "Unauthorized")  # noqa: TRY301 - one way out
            if self.command not in rights:
                raise Refused(403, "forbidden: User cannot do this")  # noqa: TRY301 - one way out
            status, told = 200, ask(asked.path, parse_qs(asked.query))
        except Refused as error:
            status, told = error.status, {"kind": "Status", "status": "Failure", "message": str(error)}
        body = self.cluster.garbage or json.dumps(told).encode()
        self.send_response(status)
        self.send_header("content-type", "image/png" if body[:1] in {b"G", b"\x89"} else "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        """Say nothing."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that do not trust the certificate go away."""


@contextlib.contextmanager
def api_server(cluster: Cluster, certificate: Path | None = None) -> Iterator[int]:
    """Serve the cluster, with TLS where there is a certificate; gives the port."""
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"cluster": cluster}))
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def write_kubeconfig(file: Path, server: str, token: str = WRITER, authority: Path | None = None) -> Path:
    """Write a kubeconfig with one context, named test."""
    trust = {} if authority is None else {"certificate-authority": str(authority)}
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "clusters": [{"name": "test", "cluster": {"server": server, **trust}}],
                "users": [{"name": "us", "user": {"token": token}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "us"}}],
            }
        )
    )
    return file


def http_route(backends: Mapping[str, int]) -> Object:
    """An HTTPRoute as a user writes it, whose second rule is of no version."""
    refs = [{"name": name, "port": 8080, "weight": weight} for name, weight in backends.items()]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "parentRefs": [{"name": "public"}],
            "hostnames": ["flights.example.com"],
            "rules": [
                {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": refs},
                {
                    "matches": [{"path": {"type": "Exact", "value": "/about"}}],
                    "backendRefs": [{"name": "v1", "port": 80}],
                },
            ],
        },
    }


def predictor(name: str, **more: Any) -> Object:
    """The predictor of a version."""
    uri = f"s3://models/flights/{name}"
    return {"name": name, "model": {"modelFormat": {"name": "mlflow"}, "storageUri": uri}, "minReplicas": 1, **more}


def inference_service(stable: str, *canaries: str) -> Object:
    """An InferenceService as a user writes it: the stable predictor scales by itself."""
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "annotations": {"serving.kserve.io/deploymentMode": "Standard"},
        },
        "spec": {
            "predictor": predictor(stable, minReplicas=2, maxReplicas=8),
            "canary": [{"trafficPercent": 0, "predictor": predictor(name)} for name in canaries],
        },
    }
