"""Control a model's traffic through one object of a Kubernetes cluster.

The split that was asked for stands in an annotation of the object, from which an older change is refused. The API
server compares resource versions, so nothing can change between a look and the change that follows from it: a writer
that hangs in between changes nothing.
"""

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from surefoot.adapters.traffic.kubernetes.api_connection import ObjectAddress, ObjectConnection, connect_to_object
from surefoot.adapters.traffic.kubernetes.http_route import HttpRoute
from surefoot.adapters.traffic.kubernetes.inference_service import InferenceService
from surefoot.adapters.traffic.kubernetes.split_object import JsonObject, SplitObject, WantedWeights
from surefoot.adapters.traffic.split_text import decode_split_text, encode_split_text
from surefoot.core.domain import Split, Version
from surefoot.core.errors import (
    Conflict,
    GatewayUnavailable,
    OutcomeUnknown,
    Rejected,
    RouteSuperseded,
    VersionUnavailable,
)
from surefoot.core.serving_engines.engine_abilities import KUBERNETES_KINDS, KubernetesKind, whole_number_weights

_SPLIT_ANNOTATION = "surefoot/split"
"""Annotation of the object that holds the split, as base64 of its JSON."""
_MODEL_ANNOTATION = "surefoot/model"
"""Annotation of the object that holds the name of the model that it serves."""
_ATTEMPTS = 5
"""How often a change is tried again that met another writer."""
_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0
"""Time between the first two looks for the controller's confirmation, which doubles up to the second [s]."""


@dataclass(frozen=True, slots=True)
class KubernetesTarget:
    """Which object serves a model, and how.

    Attributes:
        kind: Its kind.
        address: Where it is.
        backend: What it calls a version, with {version} in it.
        patience_s: How long its controller may take to confirm a change [s].
    """

    kind: KubernetesKind
    address: ObjectAddress
    backend: str
    patience_s: float

    @classmethod
    def from_settings(cls, settings: Mapping[str, object], kubeconfig: str = "") -> "KubernetesTarget":
        """Read what the journal keeps of the engine.

        Raises:
            Rejected: Another release has journalled something that this one does not know.
        """
        try:
            namespace, name, backend = (str(settings[key]) for key in ("namespace", "name", "backend"))
            kind, patience = KubernetesKind(str(settings["kind"])), float(str(settings["patience_s"]))
        except (KeyError, ValueError) as error:
            raise Rejected(
                f"the journal names an object of Kubernetes that this release does not know: {error}"
            ) from error
        return cls(
            kind, ObjectAddress(namespace, name, str(settings.get("context", "")), kubeconfig), backend, patience
        )


class KubernetesTraffic:
    """The `Traffic` port in front of an HTTPRoute or an InferenceService."""

    def __init__(self, place: KubernetesTarget) -> None:
        """Remember where; nothing is contacted yet."""
        self._place = place
        self._object: SplitObject = (
            HttpRoute(place.backend) if place.kind is KubernetesKind.HTTPROUTE else InferenceService()
        )
        self._where = f"{self._object.title} {place.address.namespace}/{place.address.name}"

    def live(self, model: str) -> Split | None:
        """The split that the object's controller serves; None where Surefoot has not put one in force yet.

        Where the weights are not those of the split, what the object says instead, without digests.

        Raises:
            GatewayUnavailable: The object cannot be read, or its controller has not confirmed what it says.
            Rejected: The object does not split traffic between versions, or serves another model.
        """
        with connect_to_object(self._object, self._place.address) as api:
            found = api.read()
        split = self._known(found, model)
        if split is None:
            return None
        wanted = self._wanted(split)
        if not self._has_weights(found, wanted):
            return self._split_of_weights(split, found)
        if problem := self._object.unconfirmed(found, wanted):
            raise GatewayUnavailable(f"{self._where} is changed, and is not known to be served: {problem}")
        return split

    def settled(self, model: str, split: Split) -> bool:
        """Whether the controller serves exactly this split; raises what `live` raises."""
        return self.live(model) == split

    def shift(self, model: str, split: Split) -> None:
        """Serve this split; return when the object is changed and its controller has confirmed it.

        Raises:
            RouteSuperseded: The object has a split of a higher generation, or another one of the same.
            GatewayUnavailable: The object cannot be reached or changed; nothing changed.
            VersionUnavailable: A version that is to answer is not ready; nothing changed.
            OutcomeUnknown: It may have changed, or has and is not confirmed; look with `live`.
            Rejected: The object cannot serve such a split, has nothing of a version's name, or serves another model.
        """
        wanted = self._wanted(split)
        with connect_to_object(self._object, self._place.address) as api:
            found = self._write(api, model, split, wanted)
            try:
                self._wait_for_controller(api, found, model, split, wanted)
            except Rejected as error:  # another hand has made something else of the object since
                raise OutcomeUnknown(f"{self._where} is changed, and was changed again since: {error}") from error

    def check(self, model: str) -> str:
        """Look whether the object is there, splits traffic, and would be taken back changed; nothing is changed.

        Returns:
            What it serves, as a clause.

        Raises:
            GatewayUnavailable: It cannot be reached, read or changed.
            Rejected: It does not split traffic between versions, or serves another model.
        """
        with connect_to_object(self._object, self._place.address) as api:
            found = api.read()
            self._known(found, model)
            shares = self._object.weights(found)
            try:
                api.replace(found, dry_run=True)
            except Conflict:
                pass  # another writer is as good a sign that it is there
            except OutcomeUnknown as error:
                raise GatewayUnavailable(str(error)) from error
        parts = ", ".join(f"{name} at {weight}" for name, weight in shares[0].items())
        return f"{self._where} has {parts}, and may be changed"

    def _wanted(self, split: Split) -> WantedWeights:
        """The weights of a split.

        Raises:
            Rejected: The object cannot serve such a split.
        """
        able = KUBERNETES_KINDS[self._place.kind]
        if split.mirror or split.units:
            raise Rejected(f"{able.title} mirrors no requests here, and assigns no unit by its name")
        weights = whole_number_weights(split.weight, able.largest_weight)
        if weights is None or able.weight_problem(split.weight):
            raise Rejected(f"{able.title} {able.weight_problem(split.weight)}")
        champion, candidate = self._name(split.champion), ""
        made = {champion: weights[0]}
        if split.candidate is not None and split.candidate.number != split.champion.number:
            candidate = self._name(split.candidate)
            made[candidate] = weights[1]
        return WantedWeights(champion, candidate, made)

    def _name(self, version: Version) -> str:
        return self._place.backend.replace("{version}", version.number)

    def _known(self, found: JsonObject, model: str) -> Split | None:
        """The split that was put in force last.

        Raises:
            Rejected: The object serves another model.
        """
        notes = found.get("metadata", {}).get("annotations") or {}
        owner = notes.get(_MODEL_ANNOTATION, model)
        if owner != model:
            raise Rejected(
                f"{self._where} serves model {owner}: give {model} an object of its own, or remove annotation"
                f" {_MODEL_ANNOTATION}"
            )
        return decode_split_text(notes.get(_SPLIT_ANNOTATION))

    def _write(self, api: ObjectConnection, model: str, split: Split, wanted: WantedWeights) -> JsonObject:
        """Change the object, unless it says so already; look again after each change of another writer."""
        for _ in range(_ATTEMPTS):
            found = api.read()
            before = self._known(found, model)
            if before is not None and before != split and before.generation >= split.generation:
                raise self._superseded(before, split)
            changed = copy.deepcopy(self._object.with_weights(found, wanted))
            notes = changed["metadata"].setdefault("annotations", {})
            notes |= {_MODEL_ANNOTATION: model, _SPLIT_ANNOTATION: encode_split_text(split)}
            if changed == found:
                return found
            if problem := self._object.unready(found, wanted):
                raise VersionUnavailable(f"{self._where}: {problem}: nothing was changed")
            try:
                return api.replace(changed)
            except Conflict:
                continue
        raise GatewayUnavailable(
            f"{self._where} was changed by another writer {_ATTEMPTS} times in a row: nothing of ours was applied"
        )

    def _wait_for_controller(
        self, api: ObjectConnection, found: JsonObject, model: str, split: Split, wanted: WantedWeights
    ) -> None:
        """Return once the controller has confirmed the object, and the object still says the same."""
        deadline, pause = time.monotonic() + self._place.patience_s, _PAUSE_S
        while True:
            known = self._known(found, model)
            if known != split and known is not None and known.generation >= split.generation:
                raise self._superseded(known, split)
            if known != split or not self._has_weights(found, wanted):
                raise OutcomeUnknown(f"{self._where} was changed by another hand while {split.generation} was applied")
            problem = self._object.unconfirmed(found, wanted)
            if not problem:
                return
            if time.monotonic() > deadline:
                raise OutcomeUnknown(
                    f"{self._where} is changed, and not confirmed within {self._place.patience_s:g} s: {problem}"
                )
            time.sleep(pause)
            pause = min(2.0 * pause, _LONGEST_PAUSE_S)
            try:
                found = api.read()
            except GatewayUnavailable as error:
                raise OutcomeUnknown(f"{self._where} is changed, and cannot be read since: {error}") from error

    def _superseded(self, known: Split, split: Split) -> RouteSuperseded:
        return RouteSuperseded(
            f"{self._where} has generation {known.generation}, which is not older than {split.generation}"
        )

    def _has_weights(self, found: JsonObject, wanted: WantedWeights) -> bool:
        """Whether every part of the object has these weights; what is not there and should have none is no matter."""
        return all(
            told.get(name, 0) == wanted.weights.get(name, 0)
            for told in self._object.weights(found)
            for name in {*told, *wanted.weights}
        )

    def _split_of_weights(self, split: Split, found: JsonObject) -> Split:
        """The split that weights of another hand amount to; its versions have no digests."""
        expected = dict(self._wanted(split).weights)
        parts = self._object.weights(found)
        differing = [told for told in parts if {k: v for k, v in told.items() if v} != expected]
        told = (differing or list(parts))[0]
        before, after = self._place.backend.split("{version}")
        shares = sorted(((weight, name) for name, weight in told.items() if weight > 0), reverse=True)
        numbers = [name.removeprefix(before).removesuffix(after) for _, name in shares]
        champion = Version(numbers[0] if numbers else "", "")
        candidate = Version(", ".join(numbers[1:]), "") if numbers[1:] else None
        whole = sum(weight for weight, _ in shares)
        weight = 100.0 * (1.0 - shares[0][0] / whole) if candidate is not None else 0.0
        return replace(split, champion=champion, candidate=candidate, weight=weight)
