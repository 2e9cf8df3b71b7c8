"""Read all configured routes from shared memory as one immutable snapshot.

Law: shared memory is written before its generation grows, and every read compares the generation first. So a version
that has lost its route is refused at the next read, however busy this worker is, and no other part has to tell it.
"""

import mmap
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from surefoot.core.domain import Split, Version
from surefoot.core.fallback import FallbackVersion
from surefoot.core.traffic_split_json import decode_traffic_split, decode_version
from surefoot.gateway.inference.routes.entry_fields import read_fallback, read_standby, read_unbatchable_versions
from surefoot.gateway.inference.routes.memory_layout import GENERATION_INDEX, NUMBERS_AREA_BYTES, read_document
from surefoot.gateway.inference.routes.request_policy import RequestPolicy, list_or_empty

KILL_SWITCH_KEY = ""
"""Key of the kill switch in the document of routes; no model has this name."""


@dataclass(frozen=True, slots=True)
class ConfiguredRoute:
    """The route of one model, as all workers see it.

    Attributes:
        split: Which version answers which share.
        warm: Versions that stay loaded, so that going back loads nothing.
        rules: What the policy said of requests when the rollout began; None where the entry does not say.
        unbatchable: Why versions are asked one request at a time, by digest.
        cut: Why the candidate gets nothing more under this route; empty when it was not cut.
        standby: The last proven-good version, which answers requests that the champion fails; None where the control
            plane names none.
        fallback: The version that answers requests that no other version can; None where the control plane names none.
        entry: The JSON object that this was read from.
    """

    split: Split
    warm: tuple[Version, ...]
    rules: RequestPolicy | None
    unbatchable: Mapping[str, str]
    cut: str
    standby: Version | None
    fallback: FallbackVersion | None
    entry: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class RouteSnapshot:
    """All routes of one generation.

    Attributes:
        generation: Grows with every change of any route.
        models: Routes by model.
        broken: Why the route file of a model cannot be used, by model.
        killed: Why the kill switch is set; empty when it is not.
    """

    generation: int
    models: Mapping[str, ConfiguredRoute]
    broken: Mapping[str, str]
    killed: str


NO_ROUTES = RouteSnapshot(0, {}, {}, "")
"""The snapshot before the first route."""


class RouteReader:
    """Reads snapshots of the routes; without a change a read costs one load from memory.

    Attributes:
        generations: The generation as a view of one word, which is the quickest to read.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        """Read from this shared memory."""
        self._memory = memory
        self._snapshot = NO_ROUTES
        self.generations = memoryview(memory)[:NUMBERS_AREA_BYTES].cast("Q")[GENERATION_INDEX : GENERATION_INDEX + 1]

    def read(self) -> RouteSnapshot:
        """Give the routes in force; the same object as before while nothing has changed."""
        if self.generations[0] != self._snapshot.generation:
            self._snapshot = _decode_snapshot(*self.read_entries(), self._snapshot)
        return self._snapshot

    def read_entries(self) -> tuple[int, dict[str, dict[str, object]]]:
        """Give the generation in force and its document, as JSON."""
        while True:
            generation = self.generations[0]
            body = read_document(self._memory, generation % 2)
            if self.generations[0] == generation:  # else the document may have been overwritten meanwhile
                return generation, orjson.loads(body) if body else {}


def _decode_route(entry: Mapping[str, object]) -> ConfiguredRoute:
    """Read the route of one model from its entry in the document.

    Raises:
        ValueError: The entry is not of the right form.
    """
    return ConfiguredRoute(
        decode_traffic_split(entry["route"]),
        tuple(decode_version("warm", version) for version in list_or_empty(entry["warm"])),
        RequestPolicy.decode(entry) if "unit" in entry else None,
        read_unbatchable_versions(entry),
        str(entry.get("cut", "")),
        read_standby(entry),
        read_fallback(entry),
        entry,
    )


def _decode_snapshot(generation: int, entries: Mapping[str, dict[str, object]], before: RouteSnapshot) -> RouteSnapshot:
    """Decode a document; the route of a model that has not changed is the same object as before."""
    models: dict[str, ConfiguredRoute] = {}
    for name, entry in entries.items():
        if "route" in entry:
            last = before.models.get(name)
            models[name] = last if last is not None and last.entry == entry else _decode_route(entry)
    broken = {name: str(entry["broken"]) for name, entry in entries.items() if "broken" in entry}
    return RouteSnapshot(generation, models, broken, str(entries.get(KILL_SWITCH_KEY, {}).get("reason", "")))
