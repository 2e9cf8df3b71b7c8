"""Engine `kubernetes` before a test API server: its fence, what it refuses, and each way in which a cluster fails."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from surefoot.adapters.traffic.split_text import encode_split_text
from surefoot.core.domain import Split, Version
from surefoot.core.errors import (
    GatewayUnavailable,
    OutcomeUnknown,
    Rejected,
    RouteSuperseded,
    VersionUnavailable,
)
from surefoot.core.serving_engines.engine_abilities import KubernetesKind
from tests.integration.engine_harness import CANDIDATE, CHAMPION
from tests.integration.kubernetes_api_server import (
    ROUTES,
    SERVICES,
    Object,
    Refused,
    http_route,
    inference_service,
)
from tests.integration.kubernetes_harness import KubernetesHarness, kubernetes_engine

HTTPROUTE, INFERENCESERVICE = KubernetesKind.HTTPROUTE, KubernetesKind.INFERENCESERVICE


@pytest.fixture
def route(tmp_path: Path) -> Iterator[KubernetesHarness]:
    """An HTTPRoute that names three versions."""
    with kubernetes_engine(HTTPROUTE, tmp_path / "route") as made:
        yield made


@pytest.fixture
def service(tmp_path: Path) -> Iterator[KubernetesHarness]:
    """An InferenceService with three predictors."""
    with kubernetes_engine(INFERENCESERVICE, tmp_path / "service") as made:
        yield made


def weights(engine: KubernetesHarness) -> list[tuple[str, int]]:
    """Backends of the first rule of the route with their weights."""
    return [(one["name"], one["weight"]) for one in _refs(engine.cluster.read(ROUTES))]


def _refs(found: Object) -> list[Object]:
    refs: list[Object] = found["spec"]["rules"][0]["backendRefs"]
    return refs


def test_the_test_server_refuses_what_the_published_schema_refuses(route: KubernetesHarness) -> None:
    """A weight above a million, a field that is not known and a missing controller name are no HTTPRoute."""

    def edits() -> Iterator[Callable[[Object], object]]:
        yield lambda found: _refs(found)[0].update(weight=1_000_001)
        yield lambda found: _refs(found)[0].update(weigth=3)
        yield lambda found: found["spec"]["rules"][0]["matches"][0]["path"].update(type="Prefix")

    for edit in edits():
        with pytest.raises(Refused) as refused:
            route.cluster.edit(ROUTES, edit)
        assert refused.value.status == 422
    made = inference_service("v1", "v2")
    made["spec"]["canary"][0]["predictor"]["maxReplicas"] = 3
    with pytest.raises(Refused, match="autoscaling fields are not allowed"):
        route.cluster.put(SERVICES, made)


def test_the_manifests_of_the_manual_are_valid(route: KubernetesHarness, service: KubernetesHarness) -> None:
    """HTTPRoute and InferenceService in docs/engines.md follow the published schemas and can be served from."""
    text = (Path(__file__).parents[2] / "docs" / "engines.md").read_text("utf-8")
    manifests = {}
    for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        made = yaml.safe_load(block)  # noqa: TID251 - a manifest, no policy
        manifests[made.get("kind", "")] = made
    for engine, path, kind in ((route, ROUTES, "HTTPRoute"), (service, SERVICES, "InferenceService")):
        engine.cluster.put(path, manifests[kind])
        old, new = (Version(number, f"sha256:{number * 64}") for number in "78")
        for split in (Split(old, new, 25.0, "s", "r", 1), Split(new, None, 0.0, "s", "r", 2)):
            engine.traffic.shift(engine.model, split)
            assert engine.traffic.live(engine.model) == split
    (rule,) = manifests["Role"]["rules"]
    assert (rule["resourceNames"], rule["verbs"]) == (["flights"], ["get", "update"])


def test_only_rules_of_versions_are_changed(route: KubernetesHarness) -> None:
    """Backends of other rules keep their weights, and one of no version in a rule of ours gets nothing."""
    route.cluster.edit(ROUTES, lambda found: _refs(found).append({"name": "flights-old", "port": 80}))
    route.shift(12.5)
    assert weights(route) == [("flights-v1", 7), ("flights-v2", 1), ("flights-v3", 0), ("flights-old", 0)]
    assert route.cluster.read(ROUTES)["spec"]["rules"][1] == http_route({})["spec"]["rules"][1]
    assert route.cluster.read(ROUTES)["spec"]["hostnames"] == ["flights.example.com"]


def test_a_change_between_look_and_write_is_looked_at_again(route: KubernetesHarness) -> None:
    """Another writer's change (409) is kept and ours is made upon it; one that never stops is Unavailable."""
    route.shift(0.0, None)
    route.cluster.conflicts = 2
    split = route.shift(25.0, generation=2)
    assert route.traffic.live(route.model) == split
    route.cluster.conflicts = 50
    with pytest.raises(GatewayUnavailable, match="was changed by another writer 5 times in a row"):
        route.shift(50.0, generation=3)
    route.cluster.conflicts = 0
    assert route.traffic.live(route.model) == split


def test_a_writer_that_hung_changes_nothing(route: KubernetesHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that has looked, and meets the split of a later one when it writes, is superseded."""
    route.shift(0.0, None)
    newest = route.split(50.0, generation=9)
    replace_object = route.cluster.replace

    def be_late(path: str, given: Object, *, dry_run: bool = False) -> Object:
        monkeypatch.setattr(route.cluster, "replace", replace_object)
        route.at(route.url).shift(route.model, newest)
        return replace_object(path, given, dry_run=dry_run)

    monkeypatch.setattr(route.cluster, "replace", be_late)
    with pytest.raises(RouteSuperseded, match="generation 9"):
        route.shift(25.0, generation=2)
    assert route.traffic.live(route.model) == newest


@pytest.mark.parametrize("kind", KubernetesKind)
def test_a_controller_that_sleeps_leaves_the_outcome_unknown(kind: KubernetesKind, tmp_path: Path) -> None:
    """A change that no controller confirms in time is OutcomeUnknown and not live; once confirmed, it is both."""
    with kubernetes_engine(kind, tmp_path / "cluster") as engine:
        engine.shift(0.0, None)
        engine.cluster.observes = False
        impatient = engine.at(engine.url, patience_s=0.3)
        split = engine.split(25.0, generation=2)
        with pytest.raises(OutcomeUnknown, match=r"is changed, and not confirmed within 0.3 s: .* has.* not seen it"):
            impatient.shift(engine.model, split)
        with pytest.raises(GatewayUnavailable, match="is not known to be served"):
            impatient.live(engine.model)
        assert engine.cluster.programmed[f"{'flights-' if kind is HTTPROUTE else ''}v{CANDIDATE}"] == 0
        engine.cluster.observes = True
        engine.cluster.observe()
        assert engine.traffic.live(engine.model) == split
        writes = engine.cluster.writes
        engine.traffic.shift(engine.model, split)
        assert engine.cluster.writes == writes


def test_another_hand_that_comes_between_is_told(route: KubernetesHarness) -> None:
    """Weights that another hand changes while the controller is waited for leave the outcome unknown."""
    observe = route.cluster.observe

    def meddle() -> None:
        route.cluster.observe = observe  # type: ignore[method-assign]
        route.cluster.observes = False
        route.move_by_hand()

    route.cluster.observe = meddle  # type: ignore[method-assign]
    with pytest.raises(OutcomeUnknown, match="was changed by another hand while 1 was applied"):
        route.shift(0.0, None)


def test_a_route_without_the_version_is_refused(route: KubernetesHarness) -> None:
    """A version whose backend no rule names, and a route that names none at all, are Rejected; nothing changes."""
    before = route.shift(0.0, None)
    unknown = replace(route.split(5.0, generation=2), candidate=replace(route.known[CANDIDATE], number="9"))
    with pytest.raises(Rejected, match="has no backend flights-v9: add it with weight 0"):
        route.traffic.shift(route.model, unknown)
    assert route.traffic.live(route.model) == before
    route.cluster.edit(ROUTES, lambda found: found["spec"]["rules"].pop(0))
    with pytest.raises(Rejected, match=r"no rule of the HTTPRoute names a backend such as flights-v\{version\}"):
        route.shift(0.0, None, generation=3)


def test_an_object_serves_one_model(route: KubernetesHarness) -> None:
    """A second model is refused the object of the first, by name."""
    route.shift(0.0, None)
    with pytest.raises(Rejected, match="serves model flights: give delays an object of its own"):
        route.traffic.shift("delays", route.split(0.0, None, generation=2))


def test_a_missing_service_stops_a_candidate_and_no_rollback(route: KubernetesHarness) -> None:
    """While the controller misses a backend no candidate gets traffic, and what it has goes back to the champion."""
    route.shift(25.0)
    route.cluster.missing = {"flights-v7"}
    route.cluster.edit(ROUTES, lambda found: _refs(found).append({"name": "flights-v7", "port": 80, "weight": 0}))
    with pytest.raises(VersionUnavailable, match=r"ResolvedRefs is False .*flights-v7.* nothing was changed"):
        route.shift(50.0, generation=2)
    split = route.shift(0.0, None, generation=3)
    assert route.traffic.live(route.model) == split
    assert {one.version for one in route.ask_all(["N1"] * 8)} == {CHAMPION}


def predictors(engine: KubernetesHarness) -> list[tuple[Any, ...]]:
    """Name, model, scaling and percent of each predictor; the stable one has no percent."""
    spec = engine.cluster.read(SERVICES)["spec"]
    parts = [(None, spec["predictor"]), *((one["trafficPercent"], one["predictor"]) for one in spec["canary"])]
    return [
        (one["name"], one["model"]["storageUri"][-2:], one.get("minReplicas"), one.get("maxReplicas"), percent)
        for percent, one in parts
    ]


def test_a_promotion_swaps_predictors_and_a_rollback_swaps_them_back(service: KubernetesHarness) -> None:
    """The promoted version becomes the stable predictor with its scaling; the one before stays, without traffic."""
    service.shift(0.0, None)
    service.shift(25.0, generation=2)
    first = [("v1", "v1", 2, 8, None), ("v2", "v2", 1, None, 25), ("v3", "v3", 1, None, 0)]
    assert predictors(service) == first
    service.shift(0.0, None, champion=CANDIDATE, generation=3)
    assert predictors(service) == [("v2", "v2", 2, 8, None), ("v1", "v1", 1, None, 0), ("v3", "v3", 1, None, 0)]
    service.shift(0.0, None, generation=4)
    assert predictors(service) == [("v1", "v1", 2, 8, None), ("v2", "v2", 1, None, 0), ("v3", "v3", 1, None, 0)]


def _mode(found: Object) -> None:
    found["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] = "Knative"


def _unnamed(found: Object) -> None:
    del found["spec"]["predictor"]["name"]


def _environment(found: Object) -> None:
    found["spec"]["predictor"]["model"]["env"] = [{"name": "THREADS", "value": "2"}]


def _percent(found: Object) -> None:
    found["spec"]["predictor"]["canaryTrafficPercent"] = 10


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (_mode, "is in deployment mode 'Knative', and KServe heeds spec.canary in 'Standard' alone"),
        (_unnamed, "a predictor of the InferenceService has no name"),
        (
            _environment,
            "do not have the same fields, and KServe fills in what a canary lacks: write 'model.env' in both",
        ),
        (_percent, "has spec.predictor.canaryTrafficPercent, which is of mode Knative: remove it"),
        (lambda found: found["spec"]["canary"][0]["predictor"].update(name="v1"), "two predictors .* have one name"),
        (lambda found: found["spec"]["canary"][0]["predictor"].update(maxReplicas=3), "has 'maxReplicas', and KServe"),
        (lambda found: found["spec"].update(canary=[]), "has no predictor v2: add it to spec.canary"),
    ],
)
def test_a_service_that_kserve_would_not_split_is_refused(
    service: KubernetesHarness, edit: Callable[[Object], object], says: str
) -> None:
    """What KServe ignores, refuses or completes by itself is Rejected before anything is changed."""
    edit(service.cluster.objects[SERVICES])
    service.cluster.objects[SERVICES]["status"].pop("deploymentMode")
    before = json.dumps(service.cluster.objects[SERVICES])
    with pytest.raises(Rejected, match=says):
        service.shift(25.0)
    assert json.dumps(service.cluster.objects[SERVICES]) == before


@pytest.mark.parametrize(("number", "champion"), [(CANDIDATE, CHAMPION), (CHAMPION, CHAMPION), (CANDIDATE, CANDIDATE)])
def test_a_predictor_that_is_not_ready_gets_no_traffic(service: KubernetesHarness, number: str, champion: str) -> None:
    """A version that KServe does not call ready is Unavailable, as candidate and as champion; nothing changes."""
    before = service.shift(0.0, None)
    service.cluster.edit(SERVICES, lambda found: found["metadata"].update(labels={"broken": f"v{number}"}))
    candidate = CANDIDATE if champion == CHAMPION else None
    with pytest.raises(VersionUnavailable, match=f"predictor v{number} is not ready.*nothing was changed"):
        service.shift(25.0 if candidate else 0.0, candidate, champion=champion, generation=2)
    service.cluster.edit(SERVICES, lambda found: found["metadata"].update(labels={}))
    assert service.traffic.live(service.model) == before


def test_an_annotation_of_another_hand_is_no_split(route: KubernetesHarness) -> None:
    """A word that is no split counts as none; the annotation holds one word, and no secret."""
    route.cluster.edit(ROUTES, lambda found: found["metadata"].update(annotations={"surefoot/split": "nonsense"}))
    assert route.traffic.live(route.model) is None
    split = route.shift(0.0, None)
    notes = route.cluster.read(ROUTES)["metadata"]["annotations"]
    assert notes == {"surefoot/model": "flights", "surefoot/split": encode_split_text(split)}
