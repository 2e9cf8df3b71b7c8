"""Define the interface of every kind of Kubernetes object that splits traffic between versions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

JsonObject = dict[str, Any]
"""An object as the API server gives it, or a part of it."""


@dataclass(frozen=True, slots=True)
class WantedWeights:
    """The weights that an object should have; everything that is not named gets none.

    Attributes:
        champion: What the object calls the champion.
        candidate: What it calls the candidate; empty without one.
        weights: Part of the traffic of each, beside the other's.
    """

    champion: str
    candidate: str
    weights: Mapping[str, int]

    @property
    def serving(self) -> tuple[str, ...]:
        """Those that get traffic."""
        return tuple(name for name, weight in self.weights.items() if weight)

    @property
    def is_shared(self) -> bool:
        """Whether the candidate gets traffic."""
        return bool(self.weights.get(self.candidate))


class SplitObject(Protocol):
    """One kind of object; nothing here talks to a cluster, or changes what it is given."""

    title: str
    """What messages call the kind."""
    group: str
    version: str
    plural: str
    """Where the API server has objects of the kind."""

    def weights(self, found: JsonObject) -> tuple[dict[str, int], ...]:
        """Weight by name, of each part of the object that splits traffic between versions.

        Raises:
            Rejected: The object does not split traffic between versions, or not in a way that can be changed.
        """
        ...

    def unready(self, found: JsonObject, wanted: WantedWeights) -> str:
        """Why something that would get traffic cannot answer it, as a clause; empty when nothing says so."""
        ...

    def with_weights(self, found: JsonObject, wanted: WantedWeights) -> JsonObject:
        """The object with other weights.

        Raises:
            Rejected: It has nothing of that name.
        """
        ...

    def unconfirmed(self, found: JsonObject, wanted: WantedWeights) -> str:
        """Why its controller does not confirm yet that it serves these weights, as a clause; empty when it does."""
        ...


def read_generation(found: JsonObject) -> int:
    """Generation of an object's specification, which the API server counts."""
    return int(found.get("metadata", {}).get("generation", 0))


def condition(conditions: object, kind: str) -> JsonObject:
    """The condition of a kind in a list of them; empty where it is not there."""
    for one in conditions if isinstance(conditions, list) else ():
        if isinstance(one, dict) and one.get("type") == kind:
            return one
    return {}
