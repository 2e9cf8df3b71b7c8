"""Read and set the weights of a Gateway API HTTPRoute."""

import copy
from collections.abc import Iterator

from surefoot.adapters.traffic.kubernetes.split_object import JsonObject, WantedWeights, condition, read_generation
from surefoot.core.errors import Rejected

_DEFAULT_WEIGHT = 1  # of a backend without a weight, as the schema says


class HttpRoute:
    """What an HTTPRoute says and takes.

    Every rule that names a backend of a version is ours; others, such as one for another path, are left alone.

    Attributes:
        title: What messages call it.
        group: Group of the API.
        version: Version of the API.
        plural: Name of its objects in the API.
    """

    title = "HTTPRoute"
    group = "gateway.networking.k8s.io"
    version = "v1"
    plural = "httproutes"

    def __init__(self, backend: str) -> None:
        """Remember how backends of versions are named.

        Args:
            backend: Name of a version's backend, with {version} in it.
        """
        self._template = backend
        self._before, self._after = backend.split("{version}")

    def weights(self, found: JsonObject) -> tuple[dict[str, int], ...]:
        """Weight of each backend by name, a mapping a rule of ours.

        Raises:
            Rejected: No rule names a backend of a version, or one names a backend twice.
        """
        told = []
        for rule in self._rules(found):
            weights: dict[str, int] = {}
            for one in rule["backendRefs"]:
                name = str(one.get("name"))
                if name in weights:
                    raise Rejected(f"a rule of the HTTPRoute names backend {name} twice: leave one out")
                weights[name] = int(one.get("weight", _DEFAULT_WEIGHT))
            told.append(weights)
        if not told:
            raise Rejected(
                f"no rule of the HTTPRoute names a backend such as {self._template}: add one for each version, with"
                " weight 0"
            )
        return tuple(told)

    def unready(self, found: JsonObject, wanted: WantedWeights) -> str:
        """Why a candidate must not get traffic: a controller cannot find one of the backends.

        The condition does not say which one, so traffic can always go back to the champion alone.
        """
        if not wanted.is_shared:
            return ""
        for parent in found.get("status", {}).get("parents", ()):
            told = condition(parent.get("conditions"), "ResolvedRefs")
            if told.get("status") == "False":
                return _says(told)
        return ""

    def with_weights(self, found: JsonObject, wanted: WantedWeights) -> JsonObject:
        """The route with other weights in every rule of ours.

        Raises:
            Rejected: A rule does not name the backend of a version that is to answer.
        """
        for weights in self.weights(found):
            for name in wanted.serving:
                if name not in weights:
                    raise Rejected(f"a rule of the HTTPRoute has no backend {name}: add it with weight 0")
        made = copy.deepcopy(found)
        for rule in self._rules(made):
            for one in rule["backendRefs"]:
                one["weight"] = wanted.weights.get(one["name"], 0)
        return made

    def unconfirmed(self, found: JsonObject, wanted: WantedWeights) -> str:
        """Why not every Gateway of the route has confirmed this generation of it; empty when all have."""
        namespace = found["metadata"].get("namespace", "")
        parents = found.get("spec", {}).get("parentRefs", [])
        if not parents:
            return "it names no Gateway in spec.parentRefs"
        told = {
            _identity(one.get("parentRef", {}), namespace): one for one in found.get("status", {}).get("parents", ())
        }
        needed = ("Accepted", "ResolvedRefs") if wanted.is_shared else ("Accepted",)
        for parent in parents:
            conditions = told.get(_identity(parent, namespace), {}).get("conditions")
            for kind in needed:
                seen = condition(conditions, kind)
                if int(seen.get("observedGeneration", -1)) < read_generation(found):
                    return f"the controller of Gateway {parent.get('name')} has not seen it"
                if seen.get("status") != "True":
                    return f"the controller of Gateway {parent.get('name')} tells: {_says(seen)}"
        return ""

    def _rules(self, found: JsonObject) -> Iterator[JsonObject]:
        """Rules that name a backend of a version."""
        for rule in found.get("spec", {}).get("rules", ()):
            names = [str(one.get("name", "")) for one in rule.get("backendRefs") or ()]
            if any(self._is_version(name) for name in names):
                yield rule

    def _is_version(self, name: str) -> bool:
        middle = name.removeprefix(self._before).removesuffix(self._after)
        return name == f"{self._before}{middle}{self._after}" and middle.isdigit()


def _identity(parent: JsonObject, namespace: str) -> tuple[object, ...]:
    """What a reference to a Gateway stands for, with what the schema puts where nothing is said."""
    return (
        parent.get("group", "gateway.networking.k8s.io"),
        parent.get("kind", "Gateway"),
        parent.get("namespace", namespace),
        parent.get("name"),
        parent.get("sectionName"),
        parent.get("port"),
    )


def _says(told: JsonObject) -> str:
    """A condition as a clause."""
    message = " ".join(str(told.get("message", "")).split())[:200]
    return f"{told.get('type')} is {told.get('status')} ({told.get('reason')}: {message})"
