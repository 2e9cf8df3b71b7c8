"""Read and set the traffic shares of a KServe InferenceService.

Each version has a predictor with a name of its own. A promotion swaps two names, so KServe restarts no server, and the
version before stays in `spec.canary` without traffic, for a rollback.
"""

import copy

from surefoot.adapters.traffic.kubernetes.split_object import JsonObject, WantedWeights, condition, read_generation
from surefoot.core.errors import Rejected

_ALL = 100
_MODES = frozenset({"Standard", "RawDeployment"})
"""Names of the deployment mode in which KServe heeds `spec.canary`; the second is the old one."""
_MODE_ANNOTATION = "serving.kserve.io/deploymentMode"
_AUTOSCALING = ("maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling")
"""Fields that KServe refuses on a canary."""
_SCALING = ("minReplicas", *_AUTOSCALING)
"""Fields that stay where they are when two predictors change places."""


class InferenceService:
    """What an InferenceService says and takes.

    Attributes:
        title: What messages call it.
        group: Group of the API.
        version: Version of the API.
        plural: Name of its objects in the API.
    """

    title = "InferenceService"
    group = "serving.kserve.io"
    version = "v1beta1"
    plural = "inferenceservices"

    def weights(self, found: JsonObject) -> tuple[dict[str, int], ...]:
        """Percent of the traffic of each predictor by name; the stable one has what the canaries leave.

        Raises:
            Rejected: KServe would not heed `spec.canary`, or a predictor has no name, or one that another has.
        """
        _refuse_other_modes(found)
        stable, canaries = _parts(found)
        told = {_name(one["predictor"]): int(one["trafficPercent"]) for one in canaries}
        if len(told) < len(canaries) or _name(stable) in told:
            raise Rejected("two predictors of the InferenceService have one name: give each version its own")
        return ({_name(stable): _ALL - sum(told.values()), **told},)

    def unready(self, found: JsonObject, wanted: WantedWeights) -> str:
        """Why a predictor that would get traffic cannot answer it; empty when KServe calls all of them ready."""
        for name in wanted.serving:
            if problem := _unready(found, name):
                return problem
        return ""

    def with_weights(self, found: JsonObject, wanted: WantedWeights) -> JsonObject:
        """The service with the champion as its stable predictor, and these percents.

        Raises:
            Rejected: It has no predictor of that name, or a swap would change what a predictor is.
        """
        (weights,) = self.weights(found)
        for name in (*wanted.serving, wanted.champion):
            if name not in weights:
                raise Rejected(
                    f"the InferenceService has no predictor {name}: add it to spec.canary with trafficPercent 0"
                )
        made = copy.deepcopy(found)
        stable, canaries = _parts(made)
        for one in canaries:
            name = one["predictor"]["name"]
            if name == wanted.champion or (name == wanted.candidate and wanted.is_shared):
                _refuse_inherited(stable, one["predictor"])
            if name == wanted.champion:
                made["spec"]["predictor"], one["predictor"] = _swapped(stable, one["predictor"])
        for one in canaries:
            name = one["predictor"]["name"]
            one["trafficPercent"] = wanted.weights.get(name, 0)
        return made

    def unconfirmed(self, found: JsonObject, wanted: WantedWeights) -> str:
        """Why KServe has not confirmed this generation; empty when it has, and its predictors are ready."""
        status = found.get("status", {})
        if int(status.get("observedGeneration", -1)) < read_generation(found):
            return "KServe has not seen it"
        if problem := self.unready(found, wanted):
            return problem
        for name, weight in wanted.weights.items():
            told = _canary_status(found, name)
            if told and told.get("trafficPercent") != weight:
                return f"KServe tells {told.get('trafficPercent')} percent of predictor {name}, and not {weight}"
        return ""


def _parts(found: JsonObject) -> tuple[JsonObject, list[JsonObject]]:
    """The stable predictor, and the canaries."""
    spec = found.get("spec", {})
    return spec.get("predictor", {}), spec.get("canary") or []


def _name(predictor: JsonObject) -> str:
    name = predictor.get("name")
    if not name:
        raise Rejected("a predictor of the InferenceService has no name: give each version's predictor its own")
    return str(name)


def _refuse_other_modes(found: JsonObject) -> None:
    """Refuse what KServe would silently ignore, or refuse itself."""
    annotated = found["metadata"].get("annotations", {}).get(_MODE_ANNOTATION, "")
    mode = found.get("status", {}).get("deploymentMode") or annotated
    if mode not in _MODES:
        raise Rejected(
            f"the InferenceService is in deployment mode '{mode or 'unknown'}', and KServe heeds spec.canary in"
            f" 'Standard' alone: set annotation {_MODE_ANNOTATION}: Standard"
        )
    stable, canaries = _parts(found)
    if "canaryTrafficPercent" in stable:
        raise Rejected(
            "the InferenceService has spec.predictor.canaryTrafficPercent, which is of mode Knative: remove it"
        )
    for one in canaries:
        for key in _AUTOSCALING:
            if key in one["predictor"]:
                raise Rejected(
                    f"canary {_name(one['predictor'])} of the InferenceService has '{key}', and KServe scales no"
                    " canary by itself: write minReplicas alone"
                )


def _unready(found: JsonObject, name: str) -> str:
    """Why a predictor cannot answer, as KServe says; empty when it is ready."""
    if name == _parts(found)[0].get("name"):
        told = condition(found.get("status", {}).get("conditions"), "PredictorReady")
        return (
            "" if told.get("status") == "True" else f"predictor {name} is not ready ({told.get('reason', 'unknown')})"
        )
    return "" if _canary_status(found, name).get("ready") else f"predictor {name} is not ready"


def _canary_status(found: JsonObject, name: str) -> JsonObject:
    """What KServe says of a predictor in `spec.canary`; empty where it says nothing."""
    for one in found.get("status", {}).get("canaryStatuses") or ():
        if one.get("name") == name:
            return dict(one)
    return {}


def _refuse_inherited(stable: JsonObject, canary: JsonObject) -> None:
    """Refuse two predictors of which one would inherit fields of the other: a swap would change what they are.

    KServe fills in what a canary does not say from the stable predictor.
    """
    differing = sorted(_keys(stable) ^ _keys(canary))
    if differing:
        raise Rejected(
            f"predictors {_name(stable)} and {_name(canary)} do not have the same fields, and KServe fills in what a"
            f" canary lacks: write '{differing[0]}' in both"
        )


def _keys(value: JsonObject, path: str = "") -> set[str]:
    """Paths of every field of a predictor but those of its scaling; lists are one field."""
    found: set[str] = set()
    for key, item in value.items():
        here = f"{path}.{key}" if path else key
        if path or key not in _SCALING:
            found |= _keys(item, here) if isinstance(item, dict) and item else {here}
    return found


def _swapped(stable: JsonObject, canary: JsonObject) -> tuple[JsonObject, JsonObject]:
    """The two in each other's place; the scaling of a place stays there."""
    return _scaled(canary, stable), _scaled(stable, canary)


def _scaled(predictor: JsonObject, place: JsonObject) -> JsonObject:
    """A predictor with the scaling of a place."""
    kept = {key: item for key, item in predictor.items() if key not in _SCALING}
    return kept | {key: place[key] for key in _SCALING if key in place}
